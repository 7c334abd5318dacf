"""A crop store: pictures cut to squares, in one LMDB environment or in shards of one."""
