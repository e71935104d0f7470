-- Records are also asked for by the instruction: of a step that moved, and for the time that it took elsewhere.
CREATE INDEX records_by_name ON records (name, created_unix);

-- Roots as stacks of layers: each row puts one layer on the stack below, so that a step adds one row however deep its
-- root is. The id is a digest of all layers up to this one; nothing is below the first. Whatever is below a row is there.
CREATE TABLE stacks (
    id BLOB NOT NULL PRIMARY KEY,
    below BLOB NOT NULL,
    layer TEXT NOT NULL
) WITHOUT ROWID;

-- The root of a record. Older records have none, and rows in `record_layers` in its place.
ALTER TABLE records ADD COLUMN stack BLOB;

-- Nobody asks for this.
DROP INDEX record_layers_by_layer;
