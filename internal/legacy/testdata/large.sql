-- A legacy database of %[1]d runs, and as many findings and inventory items, for measurements.
SET synchronous_commit = off;
INSERT INTO workspaces (id, name, slug) SELECT i, 'W' || i, 'w' || i FROM generate_series(1, 20) i;
INSERT INTO tenants (id, name, external_id, workspace_id) SELECT i, 'T' || i, 'x' || i, nullif(i %% 21, 0) FROM generate_series(1, 200) i;
INSERT INTO backup_schedules (id, tenant_id, name, frequency, time_of_day, policy_types)
SELECT i, 1 + i %% 200, 'S' || i, 'daily', '02:00', '[]' FROM generate_series(1, 500) i;
INSERT INTO operation_runs (id, workspace_id, tenant_id, initiator_name, type, status, outcome, run_identity_hash, summary_counts, failure_summary, context, started_at, completed_at, created_at, updated_at)
SELECT i, coalesce(nullif((1 + i %% 200) %% 21, 0), 1), 1 + i %% 200, 'Somebody', (ARRAY['inventory.sync', 'backup_schedule.run_now', 'policy.sync', 'inventory_sync', 'strange.type'])[1 + i %% 5],
       'completed', 'succeeded', encode(sha256(i::text::bytea), 'hex'), '{"total": 5, "ok": 5}',
       CASE WHEN i %% 10 = 0 THEN '[{"code":"graph_throttled","message":"429 from the service"}]' ELSE '[]' END::json,
       jsonb_build_object('selection', repeat('abcdefgh', 30), 'n', i), timestamp '2026-01-01' - i * interval '1 minute', timestamp '2026-01-01' - i * interval '1 minute' + interval '9 s',
       timestamp '2026-01-01' - i * interval '1 minute', timestamp '2026-01-01' - i * interval '1 minute'
FROM generate_series(1, %[1]d) i;
INSERT INTO inventory_sync_runs (id, tenant_id, selection_hash, status, operation_run_id, created_at)
SELECT i, 1 + i %% 200, 's', 'success', CASE WHEN i %% 17 <> 0 THEN i END, timestamp '2026-01-01' FROM generate_series(1, %[1]d) i;
INSERT INTO backup_schedule_runs (id, backup_schedule_id, tenant_id, scheduled_for, status, operation_run_id)
SELECT i, 1 + i %% 500, 1 + i %% 200, timestamp '2026-01-01' - i * interval '1 minute', 'success', i FROM generate_series(1, %[1]d, 5) i;
INSERT INTO findings (id, tenant_id, finding_type, scope_key, baseline_run_id, current_run_id, fingerprint, subject_type, subject_external_id, evidence_jsonb, created_at, updated_at)
SELECT i, 1 + i %% 200, 'drift', 'scope', i, 1 + (i + 200) %% %[1]d, encode(sha256(i::text::bytea), 'hex'), 'policy', 'sub' || i, jsonb_build_object('diff', repeat('xyz', 40)), timestamp '2026-01-01', timestamp '2026-01-01'
FROM generate_series(1, %[1]d) i;
INSERT INTO inventory_items (id, tenant_id, policy_type, external_id, display_name, category, platform, meta_jsonb, last_seen_run_id, last_seen_operation_run_id)
SELECT i, 1 + i %% 200, 'deviceConfiguration', 'ext' || i, 'Item ' || i, 'c' || i %% 9, 'windows', '{"a": 1, "b": "two"}', i, CASE WHEN i %% 50 = 0 THEN i END
FROM generate_series(1, %[1]d) i;
SELECT setval(pg_get_serial_sequence(t, 'id'), %[1]d + 1000) FROM unnest(ARRAY['workspaces', 'users', 'tenants', 'operation_runs', 'findings',
    'inventory_items', 'inventory_sync_runs', 'entra_group_sync_runs', 'backup_schedules', 'backup_schedule_runs']) AS t;
