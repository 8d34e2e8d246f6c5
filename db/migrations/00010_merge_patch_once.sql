-- The function merged one member at a time and copied all the others each time: a context of
-- thousands of members took seconds.

-- +goose Up
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION runledger_merge_patch(target jsonb, patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    given jsonb;
    removed text[];
BEGIN
    IF patch IS NULL OR jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    IF jsonb_typeof(target) IS DISTINCT FROM 'object' THEN
        target := '{}';
    END IF;
    SELECT jsonb_object_agg(key, CASE jsonb_typeof(value) WHEN 'object' THEN runledger_merge_patch(target -> key, value) ELSE value END)
               FILTER (WHERE jsonb_typeof(value) <> 'null'),
           array_agg(key) FILTER (WHERE jsonb_typeof(value) = 'null')
    INTO given, removed
    FROM jsonb_each(patch);
    RETURN (target || coalesce(given, '{}')) - coalesce(removed, '{}');
END
$$;
-- +goose StatementEnd

-- +goose Down
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
