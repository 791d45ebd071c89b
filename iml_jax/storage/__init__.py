"""The lowest layer that touches files, and the only package that writes them.

The operations that every other package uses, and where they are:

- read: ``reading`` (``open_binary``, ``read_text``, ``read_json``, ...); a range of a file is read by seeking
  in the stream of ``open_binary``;
- write whole: ``writing.write_atomically`` and ``writing.atomic_file``, ``sealed.write_sealed``;
- create if absent, replace if unchanged, delete if unchanged: ``conditional.ConditionalFile``, and ``lease``
  above it;
- list: ``folders``;
- delete: ``writing.delete``.

None of them appends, renames or makes a directory, so that a bucket can offer them too. What needs a
directory of the local file system (JAX, Orbax and ArrayRecord write into one; logs are appended to) is in
``local`` and ``journal``. Ruff (``flake8-tidy-imports.banned-api`` in pyproject.toml) and
tests/test_file_writes.py keep everything else that changes files out of the other packages.
"""
