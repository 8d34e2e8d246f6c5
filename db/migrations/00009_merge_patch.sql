-- A database that was freed of the legacy run stores had been left without this function, which
-- reports of a run's context call. Everywhere else it is there already, and is the same.

-- +goose Up
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION runledger_merge_patch(target jsonb, patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    merged jsonb;
    member record;
BEGIN
    IF patch IS NULL OR jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    merged := CASE WHEN jsonb_typeof(target) = 'object' THEN target ELSE '{}'::jsonb END;
    FOR member IN SELECT key, value FROM jsonb_each(patch) LOOP
        IF jsonb_typeof(member.value) = 'null' THEN
            merged := merged - member.key;
        ELSE
            merged := jsonb_set(merged, ARRAY[member.key],
                                runledger_merge_patch(merged -> member.key, member.value));
        END IF;
    END LOOP;
    RETURN merged;
END
$$;
-- +goose StatementEnd

-- +goose Down
SELECT 'the function is dropped with the tables';
