"""What the tasks are: sources, mixtures, prompts and the cache job; the only package with SeqIO and Beam."""
