-- A landed file from which an erased viewer's lines were taken out has another content, whose rows are stored already:
-- those of the content that it had when it landed. Null: the content is as it landed.
ALTER TABLE loaded_files ADD COLUMN rewritten_from text REFERENCES loaded_files (sha256);
