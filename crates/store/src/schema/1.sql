-- What is known of layers. Whether a layer has a tree, an index or a blob, the file system alone knows.
CREATE TABLE layers (
    id TEXT NOT NULL PRIMARY KEY,
    diff_id TEXT,
    unpacked_size INTEGER NOT NULL,
    remote INTEGER NOT NULL,
    created_unix INTEGER NOT NULL
);
CREATE INDEX layers_by_diff_id ON layers (diff_id);

-- The blobs that a layer was packed to or unpacked from, whether they are here or not.
CREATE TABLE layer_blobs (
    layer TEXT NOT NULL,
    digest TEXT NOT NULL,
    diff_id TEXT,
    descriptor TEXT NOT NULL,
    UNIQUE (layer, digest)
);
CREATE INDEX layer_blobs_by_digest ON layer_blobs (digest);

CREATE TABLE records (
    key TEXT NOT NULL PRIMARY KEY,
    slot TEXT NOT NULL,
    name TEXT NOT NULL,
    platform TEXT,
    created_unix INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    used_unix INTEGER NOT NULL,
    parts BLOB NOT NULL
);
CREATE INDEX records_by_slot ON records (slot, created_unix);

-- The whole root of each record, lowest layer first.
CREATE TABLE record_layers (
    record TEXT NOT NULL,
    position INTEGER NOT NULL,
    layer TEXT NOT NULL,
    PRIMARY KEY (record, position)
) WITHOUT ROWID;
CREATE INDEX record_layers_by_layer ON record_layers (layer);

-- Further keys of records.
CREATE TABLE aliases (
    key TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX aliases_by_record ON aliases (record);

CREATE TABLE documents (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    updated_unix INTEGER NOT NULL,
    UNIQUE (kind, name)
);
