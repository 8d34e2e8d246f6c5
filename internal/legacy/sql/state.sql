-- What the removal remembers between its steps. All of it goes with Contract.
CREATE SCHEMA IF NOT EXISTS runledger_removal;

CREATE TABLE IF NOT EXISTS runledger_removal.state (
    phase text NOT NULL,
    unassigned_workspace_id bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS state_single ON runledger_removal.state ((true));

-- How far a task has come, and what it has counted.
CREATE TABLE IF NOT EXISTS runledger_removal.progress (
    task text PRIMARY KEY,
    last_id bigint NOT NULL DEFAULT 0,
    rows_read bigint NOT NULL DEFAULT 0,
    counts jsonb NOT NULL DEFAULT '{}',
    done boolean NOT NULL DEFAULT false
);

-- The columns that Expand has added to the application's tables: Undo drops these and no others.
CREATE TABLE IF NOT EXISTS runledger_removal.added_columns (
    table_name text NOT NULL,
    column_name text NOT NULL,
    PRIMARY KEY (table_name, column_name)
);

CREATE TABLE IF NOT EXISTS runledger_removal.type_map (
    old text PRIMARY KEY,
    standard text NOT NULL
);

-- The rows that the application wrote since Expand and that are to be looked at again. Rows of
-- this table are only added and taken away, so no two writers meet in it.
CREATE TABLE IF NOT EXISTS runledger_removal.dirty (
    kind text NOT NULL,
    id bigint NOT NULL
);

-- A publication of all tables publishes these, too, and refuses their updates and deletions unless it
-- can name the rows. Altering them locks out the application, so it is done once.
DO $$
DECLARE
    name regclass;
BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE oid IN ('runledger_removal.state'::regclass, 'runledger_removal.dirty'::regclass)
                AND relreplident <> 'f'
    LOOP
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', name);
    END LOOP;
END $$;

-- What Contract moves to the archive.
CREATE TABLE IF NOT EXISTS runledger_removal.finding_run_refs (
    finding_id bigint PRIMARY KEY,
    baseline_run_id bigint,
    current_run_id bigint
);
CREATE TABLE IF NOT EXISTS runledger_removal.inventory_item_run_refs (
    inventory_item_id bigint PRIMARY KEY,
    last_seen_run_id bigint
);
CREATE TABLE IF NOT EXISTS runledger_removal.operation_run_originals (
    operation_run_id bigint PRIMARY KEY,
    type varchar(255),
    context jsonb,
    failure_summary json,
    run_identity_hash varchar(255)
);
-- References that the application itself had written and that differ from the bridge's.
CREATE TABLE IF NOT EXISTS runledger_removal.inventory_item_originals (
    inventory_item_id bigint PRIMARY KEY,
    last_seen_operation_run_id bigint
);
CREATE TABLE IF NOT EXISTS runledger_removal.backup_schedule_originals (
    backup_schedule_id bigint PRIMARY KEY,
    days_of_week json
);

-- What is left to do after Contract has let go of its locks.
CREATE TABLE IF NOT EXISTS runledger_removal.aftermath (
    id bigserial PRIMARY KEY,
    kind text NOT NULL,
    object text NOT NULL,
    statement text NOT NULL
);

-- json that jsonb refuses: U+0000 and halves of surrogate pairs become U+FFFD. No control character
-- stands in the text of a json value's strings, so two of them can mark what must stay: an escaped
-- backslash, and the escapes of a whole pair. What jsonb refuses even so (a number out of all
-- range) becomes a JSON string of the whole text.
CREATE OR REPLACE FUNCTION runledger_removal.repaired(original json) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog SET standard_conforming_strings = on AS $$
DECLARE
    marked text := replace(original::text, '\\', E'\x01');
BEGIN
    marked := regexp_replace(marked, '\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})', E'\x02\\1\x02\\2', 'g');
    marked := regexp_replace(marked, '\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\\ufffd', 'g');
    marked := replace(replace(marked, E'\x02', '\u'), E'\x01', '\\');
    RETURN marked::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_jsonb(original::text);
END $$;
