-- name: ListRunStats :many
-- How many runs were created in each bucket, by type and outcome, and how long each of them took, in
-- seconds. boundaries are where the buckets begin, in order; the first bucket is 1. All of it comes
-- out of one index; the filters take the place of "AND true".
SELECT width_bucket(created_at, @boundaries::timestamptz[])::bigint AS bucket, type, outcome, count(*) AS runs,
       coalesce(array_agg(date_part('epoch', completed_at - started_at))
                FILTER (WHERE isfinite(started_at) AND isfinite(completed_at)), '{}')::float8[] AS durations
FROM operation_runs
WHERE workspace_id = @workspace_id AND true
  AND created_at >= @created_from AND created_at < @created_before
GROUP BY bucket, type, outcome;
