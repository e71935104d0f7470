-- Records are also asked for by the instruction: of a step that moved, and for the time that it took elsewhere.
CREATE INDEX records_by_name ON records (name, created_unix);
