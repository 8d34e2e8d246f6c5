-- name: ListRunStats :many
-- How many runs were created in each bucket, by type and outcome and by type alone, and the same in
-- the whole range, with two percentiles of how long they took, in seconds. boundaries are where the
-- buckets begin, in order; the first bucket is 1. Where whole_range is 1 the row is of all buckets, where
-- all_outcomes is 1 of all outcomes, and that comes before those of each. All of it comes out of one
-- index; the filters take the place of "AND true". The durations are sorted here and not where they are
-- answered: here they go to disk when they are many.
SELECT grouping(bucket)::integer AS whole_range, coalesce(bucket, 0)::bigint AS bucket, type::text AS type,
       grouping(outcome)::integer AS all_outcomes, coalesce(outcome, '')::text AS outcome, count(*) AS runs,
       coalesce(percentile_cont(ARRAY[0.50, 0.95]) WITHIN GROUP (ORDER BY seconds), '{}')::float8[] AS percentiles
FROM (SELECT width_bucket(created_at, @boundaries::timestamptz[]) AS bucket,
             type COLLATE "C" AS type, outcome COLLATE "C" AS outcome, -- the cheapest order to sort by
             CASE WHEN isfinite(started_at) AND isfinite(completed_at)
                  THEN date_part('epoch', completed_at) - date_part('epoch', started_at) END AS seconds
      FROM operation_runs
      WHERE workspace_id = @workspace_id AND true
        AND created_at >= @created_from AND created_at < @created_before) AS counted
GROUP BY GROUPING SETS ((bucket, type, outcome), (bucket, type), (type, outcome), (type))
ORDER BY whole_range, bucket, type, all_outcomes DESC, outcome;
