-- name: ListFindings :many
SELECT sqlc.embed(findings),
       baseline.type AS baseline_type, baseline.status AS baseline_status, baseline.outcome AS baseline_outcome,
       baseline.started_at AS baseline_started_at, baseline.completed_at AS baseline_completed_at,
       current.type AS current_type, current.status AS current_status, current.outcome AS current_outcome,
       current.started_at AS current_started_at, current.completed_at AS current_completed_at,
       (baseline.recalled_at IS NOT NULL OR current.recalled_at IS NOT NULL)::boolean AS recalled
FROM findings
LEFT JOIN operation_runs AS baseline
    ON baseline.workspace_id = findings.workspace_id AND baseline.id = findings.baseline_operation_run_id
LEFT JOIN operation_runs AS current
    ON current.workspace_id = findings.workspace_id AND current.id = findings.current_operation_run_id
WHERE findings.workspace_id = @workspace_id AND true AND findings.id < @position_id
ORDER BY findings.id DESC
LIMIT @page_size;

-- name: GetFinding :one
SELECT sqlc.embed(findings),
       baseline.type AS baseline_type, baseline.status AS baseline_status, baseline.outcome AS baseline_outcome,
       baseline.started_at AS baseline_started_at, baseline.completed_at AS baseline_completed_at,
       current.type AS current_type, current.status AS current_status, current.outcome AS current_outcome,
       current.started_at AS current_started_at, current.completed_at AS current_completed_at,
       (baseline.recalled_at IS NOT NULL OR current.recalled_at IS NOT NULL)::boolean AS recalled
FROM findings
LEFT JOIN operation_runs AS baseline
    ON baseline.workspace_id = findings.workspace_id AND baseline.id = findings.baseline_operation_run_id
LEFT JOIN operation_runs AS current
    ON current.workspace_id = findings.workspace_id AND current.id = findings.current_operation_run_id
WHERE findings.workspace_id = @workspace_id AND findings.id = @id;

-- name: UpsertFindings :many
-- Records findings as a run saw them, new ones and known ones of the same fingerprint. A known one
-- is left alone if nothing differs, or if a newer run has seen it: a run that this statement
-- cannot see yet was created after it began and is newer than any. A finding that became more
-- severe is open again, as it was something lesser that was acknowledged. Of each item the result
-- says whether its tenant and runs are of the workspace; one where any is not is not written. No
-- two items may be of one finding.
WITH item AS (
    SELECT unnest(@places::bigint[]) AS place,
           nullif(unnest(@tenant_ids::bigint[]), 0) AS tenant_id,
           unnest(@finding_types::text[]) AS finding_type,
           unnest(@fingerprints::text[]) AS fingerprint,
           nullif(unnest(@scope_keys::text[]), '') AS scope_key,
           nullif(unnest(@subject_types::text[]), '') AS subject_type,
           nullif(unnest(@subject_external_ids::text[]), '') AS subject_external_id,
           unnest(@severities::text[]) AS severity,
           nullif(unnest(@evidence::text[]), '')::jsonb AS evidence,
           nullif(unnest(@baseline_operation_run_ids::bigint[]), 0) AS baseline_operation_run_id,
           nullif(unnest(@current_operation_run_ids::bigint[]), 0) AS current_operation_run_id
), candidate AS MATERIALIZED (
    SELECT nextval('findings_id_seq') AS id, item.*,
           (item.tenant_id IS NULL OR EXISTS (
               SELECT FROM tenants
               WHERE tenants.workspace_id = @workspace_id AND tenants.id = item.tenant_id))::boolean AS has_tenant,
           (item.baseline_operation_run_id IS NULL OR EXISTS (
               SELECT FROM operation_runs AS baseline
               WHERE baseline.workspace_id = @workspace_id AND baseline.id = item.baseline_operation_run_id))::boolean AS has_baseline,
           (item.current_operation_run_id IS NULL OR EXISTS (
               SELECT FROM operation_runs AS current
               WHERE current.workspace_id = @workspace_id AND current.id = item.current_operation_run_id))::boolean AS has_current
    FROM item
), written AS (
    INSERT INTO findings AS known (workspace_id, id, tenant_id, finding_type, fingerprint, scope_key, subject_type,
                                   subject_external_id, severity, evidence, baseline_operation_run_id,
                                   current_operation_run_id, created_at, updated_at)
    SELECT @workspace_id, id, tenant_id, finding_type, fingerprint, scope_key, subject_type,
           subject_external_id, severity, evidence, baseline_operation_run_id, current_operation_run_id, now(), now()
    FROM candidate
    WHERE has_tenant AND has_baseline AND has_current
    ORDER BY tenant_id, fingerprint -- the same order for everybody, so that none waits in a circle
    ON CONFLICT (workspace_id, tenant_id, fingerprint) DO UPDATE
    SET finding_type = excluded.finding_type,
        scope_key = excluded.scope_key,
        subject_type = excluded.subject_type,
        subject_external_id = excluded.subject_external_id,
        severity = excluded.severity,
        evidence = excluded.evidence,
        baseline_operation_run_id = excluded.baseline_operation_run_id,
        current_operation_run_id = excluded.current_operation_run_id,
        status = CASE WHEN array_position(@by_severity::text[], excluded.severity) > coalesce(array_position(@by_severity::text[], known.severity), 0)
                      THEN 'new' ELSE known.status END,
        acknowledged_at = CASE WHEN array_position(@by_severity::text[], excluded.severity) > coalesce(array_position(@by_severity::text[], known.severity), 0)
                               THEN NULL ELSE known.acknowledged_at END,
        acknowledged_by_user_id = CASE WHEN array_position(@by_severity::text[], excluded.severity) > coalesce(array_position(@by_severity::text[], known.severity), 0)
                                       THEN NULL ELSE known.acknowledged_by_user_id END,
        updated_at = excluded.updated_at,
        revision = known.revision + 1
    WHERE (known.finding_type, known.scope_key, known.subject_type, known.subject_external_id, known.severity,
           known.evidence, known.baseline_operation_run_id, known.current_operation_run_id)
          IS DISTINCT FROM
          (excluded.finding_type, excluded.scope_key, excluded.subject_type, excluded.subject_external_id, excluded.severity,
           excluded.evidence, excluded.baseline_operation_run_id, excluded.current_operation_run_id)
      AND (known.current_operation_run_id IS NULL OR excluded.current_operation_run_id IS NULL OR EXISTS (
              SELECT
              FROM operation_runs AS last, operation_runs AS this
              WHERE last.workspace_id = @workspace_id AND last.id = known.current_operation_run_id
                AND this.workspace_id = @workspace_id AND this.id = excluded.current_operation_run_id
                AND (coalesce(last.created_at, '-infinity'), last.id) <= (coalesce(this.created_at, '-infinity'), this.id)))
    RETURNING known.id
)
SELECT candidate.place::bigint AS place, candidate.has_tenant, candidate.has_baseline, candidate.has_current,
       (written.id IS NOT NULL)::boolean AS created
FROM candidate LEFT JOIN written ON written.id = candidate.id;

-- name: ListFindingsByFingerprint :many
-- The findings that the items name, each with its place among them. Each is looked up by itself: of
-- a table that was empty a moment ago PostgreSQL knows nothing yet, and would join it row by row.
WITH item AS (
    SELECT unnest(@places::bigint[]) AS place,
           nullif(unnest(@tenant_ids::bigint[]), 0) AS tenant_id,
           unnest(@fingerprints::text[]) AS fingerprint
), found AS MATERIALIZED (
    SELECT item.place, coalesce((
               SELECT f.id FROM findings AS f
               WHERE f.workspace_id = @workspace_id AND f.tenant_id = item.tenant_id AND f.fingerprint = item.fingerprint
           ), (
               SELECT f.id FROM findings AS f
               WHERE f.workspace_id = @workspace_id AND f.tenant_id IS NULL AND item.tenant_id IS NULL
                 AND f.fingerprint = item.fingerprint
           )) AS id
    FROM item
)
SELECT found.place::bigint AS place,
       sqlc.embed(findings),
       baseline.type AS baseline_type, baseline.status AS baseline_status, baseline.outcome AS baseline_outcome,
       baseline.started_at AS baseline_started_at, baseline.completed_at AS baseline_completed_at,
       current.type AS current_type, current.status AS current_status, current.outcome AS current_outcome,
       current.started_at AS current_started_at, current.completed_at AS current_completed_at,
       (baseline.recalled_at IS NOT NULL OR current.recalled_at IS NOT NULL)::boolean AS recalled
FROM findings
JOIN found ON found.id = findings.id
LEFT JOIN operation_runs AS baseline
    ON baseline.workspace_id = findings.workspace_id AND baseline.id = findings.baseline_operation_run_id
LEFT JOIN operation_runs AS current
    ON current.workspace_id = findings.workspace_id AND current.id = findings.current_operation_run_id
WHERE findings.workspace_id = @workspace_id AND findings.id = ANY (ARRAY(SELECT f.id FROM found AS f))
ORDER BY found.place;

-- name: SetFindingStatus :execrows
-- Acknowledges a finding or opens it again, unless it is that already or has another revision than
-- the one asked for (0 for any). The row tells who has acknowledged it, until somebody opens it again;
-- who has done what is audited.
WITH was AS (
    SELECT f.acknowledged_by_user_id FROM findings AS f WHERE f.workspace_id = @workspace_id AND f.id = @id
), changed AS (
    UPDATE findings
    SET status = @status,
        acknowledged_at = CASE WHEN @status::text = 'acknowledged' THEN now() END,
        acknowledged_by_user_id = CASE WHEN @status::text = 'acknowledged' THEN @user_id::bigint END,
        updated_at = now(),
        revision = revision + 1
    WHERE workspace_id = @workspace_id AND id = @id
      AND status <> @status
      AND (@revision::bigint = 0 OR revision = @revision::bigint)
    RETURNING findings.workspace_id, findings.id
)
INSERT INTO audit_events (action, actor, workspace_id, target, data)
SELECT CASE WHEN @status::text = 'acknowledged' THEN 'finding_acknowledged' ELSE 'finding_reopened' END, @actor::text,
       changed.workspace_id, 'finding ' || changed.id,
       jsonb_strip_nulls(jsonb_build_object('acknowledged_by_user_id_before', was.acknowledged_by_user_id))
FROM changed CROSS JOIN was;
