-- Whoever changes films, with whatever program: the change is numbered, and the replicas are told when it commits.
CREATE TABLE catalogue_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL
);
INSERT INTO catalogue_version (version) VALUES (1);

-- SECURITY DEFINER: who may write films need not be allowed to write their version.
CREATE FUNCTION note_catalogue_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' OR EXISTS (SELECT FROM changed) THEN
        UPDATE catalogue_version SET version = version + 1;
        PERFORM pg_notify('catalogue_changed', '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER items_inserted AFTER INSERT ON items REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_catalogue_change();
CREATE TRIGGER items_updated AFTER UPDATE ON items REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_catalogue_change();
CREATE TRIGGER items_deleted AFTER DELETE ON items REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_catalogue_change();
CREATE TRIGGER items_truncated AFTER TRUNCATE ON items
    FOR EACH STATEMENT EXECUTE FUNCTION note_catalogue_change();

-- What a title is found by: without accents, in lower case.
CREATE EXTENSION IF NOT EXISTS unaccent;

-- unaccent() counts as changeable, for somebody may change its rules; to whom the index must then be made again.
CREATE FUNCTION searchable(words text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lower(public.unaccent('public.unaccent'::regdictionary, normalize(words, NFKC)));

-- "Matrix, The (a.k.a. Foo, La)" is found as it is written and, on a second line, as it is spoken.
CREATE FUNCTION search_text_of(title text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN searchable(title) || E'\n' || regexp_replace(
    regexp_replace(
        searchable(title), '([(]a\.k\.a\. |[(]|^)([^()]*), (l'')(?=\s*([()]|$))', '\1\3\2', 'g'
    ),
    '([(]a\.k\.a\. |[(]|^)([^()]*), (the|an?|la|le|les|une?|des|das|der|die|den|det|el|los|las|il|lo|gli|i|o|os|as|de|het|en|et)(?=\s*([()]|$))',
    '\1\3 \2', 'g'
);

ALTER TABLE items ADD COLUMN search_text text GENERATED ALWAYS AS (search_text_of(title)) STORED;
DROP INDEX items_title_trigram;
CREATE INDEX items_search_text ON items USING gin (search_text gin_trgm_ops);
