-- When a layer was last used without a record, and how much its tree takes up on disk, once that was measured.
ALTER TABLE layers ADD COLUMN used_unix INTEGER NOT NULL DEFAULT 0;
ALTER TABLE layers ADD COLUMN tree_bytes INTEGER;

-- When a record was evicted. Its layers may be gone; the row explains why the step ran again.
ALTER TABLE records ADD COLUMN evicted_unix INTEGER;
