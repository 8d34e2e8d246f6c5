-- One row or more for every sentence of the removal's rules. Ids are spoken: the tests name them.
INSERT INTO workspaces (id, name, slug, created_at) VALUES (1, 'One', 'one', '2021-03-28 02:30:00'), (2, 'Two', 'two', NULL);
INSERT INTO users (id, name, email, created_at) VALUES (1, 'Ada', 'ada@example.org', '2020-01-01'), (2, 'Bob', 'bob@example.org', NULL);
INSERT INTO workspace_memberships (workspace_id, user_id, role) VALUES (1, 1, 'owner'), (2, 2, 'superhero');
INSERT INTO tenants (id, name, external_id, workspace_id, deleted_at) VALUES
    (10, 'T10', 'ext-10', 1, NULL), (11, 'T11 (soft-deleted)', 'ext-11', 1, now()), (20, 'T20', 'ext-20', 2, NULL), (30, 'T30 (no workspace)', 'ext-30', NULL, NULL);

INSERT INTO backup_schedules (id, tenant_id, name, frequency, time_of_day, days_of_week, policy_types, deleted_at) VALUES
    (12, 10, 'Nightly', 'daily', '02:30', NULL, '[]', NULL),
    (13, 10, 'Weekly, deleted', 'weekly', '23:59:59', '[1, 3,5]', '["a"]', now()),
    (14, 20, 'Other workspace', 'daily', '00:00', '["\u0000"]', '[]', NULL),
    (15, 30, 'No workspace', 'daily', '00:00', '[]', '[]', NULL);

-- Runs. Types in every spelling; contexts of every shape; states outside any state machine.
INSERT INTO operation_runs (id, workspace_id, tenant_id, user_id, initiator_name, type, status, outcome, run_identity_hash, summary_counts, failure_summary, context, started_at, completed_at, created_at, updated_at) VALUES
    (100, 1, 10, 1, 'Ada', 'inventory.sync', 'completed', 'succeeded', 'h100', '{"a": 1}', '[]', '{"x": 1}', '2021-03-28 02:30:00.123456', '2021-10-31 02:30:00', '2021-03-28 02:30:00', '2021-10-31 02:30:00'),
    (101, 2, 20, NULL, NULL, '  Inventory.Sync ', 'completed', 'pending', 'h101', '[]', NULL, NULL, NULL, NULL, NULL, NULL),
    (102, 1, 11, NULL, 'x', 'INVENTORY_SYNC', 'running', 'failed', 'h102', NULL, '[{"code":"e","message":"bad \u0000 zero"}]', '[]', now(), now() - interval '1 hour', 'infinity', '-infinity'),
    (103, 1, NULL, NULL, NULL, 'something.unknown', 'weird', 'odd', 'h103', '{}', '[{"m":"half \ud83d pair, whole \ud83d\ude00, \\u0000 literal, \\\u0000 both, low \udc00"}]', '"text"', NULL, NULL, now(), now()),
    (104, 1, 10, NULL, NULL, E'policy.sync\t', 'completed', 'succeeded', 'h104', '{}', '{"n": 1e400, "big": 1.50, "dup": 1, "dup": 2}', 'null', NULL, NULL, now(), now()),
    (105, 1, 10, NULL, NULL, 'policy.sync', 'completed', 'cancelled', 'h105', '{}', '{"overflow": 1e999999}', '12', NULL, NULL, now(), now()),
    (106, 1, 20, NULL, NULL, 'entra_group_sync', 'completed', 'succeeded', 'h106', '{}', '[]', '{}', NULL, NULL, now(), now()),
    (107, 1, 10, NULL, NULL, '', 'completed', 'succeeded', 'h107', '{}', '  [ ]  ', '{}', NULL, NULL, now(), now());
-- A schedule's runs: context to gain the id, and every reason not to.
INSERT INTO operation_runs (id, workspace_id, tenant_id, type, status, outcome, run_identity_hash, context, failure_summary, started_at, completed_at, created_at, updated_at)
SELECT id, w, t, type, 'completed', 'succeeded', 'h' || id, context::jsonb, '[]', '2024-01-01', '2024-01-02', '2024-01-01', '2024-01-02' FROM (VALUES
    (200, 1, 10, 'backup_schedule.run_now', NULL), (201, 1, 10, 'backup_schedule.scheduled', 'null'),
    (202, 1, 10, 'backup_schedule.retention', '[]'), (203, 1, 10, 'BACKUP_SCHEDULE.PURGE', '{"keep": [1, {"z": null}]}'),
    (204, 1, 10, 'backup_schedule_run', '{"backup_schedule_id": null}'), (205, 1, 10, 'backup_schedule.run', '{"backup_schedule_id": "12"}'),
    (206, 1, 10, 'backup_schedule.run', '{"backup_schedule_id": 12.0}'), (207, 1, 10, 'backup_schedule.run', '{"backup_schedule_id": "0012"}'),
    (208, 1, 10, 'backup_schedule.run', '{"backup_schedule_id": true}'), (209, 1, 10, 'backup_schedule.run', '{"backup_schedule_id": [12]}'),
    (210, 1, 10, 'backup_schedule.run', '{"backup_schedule_id": {"id": 12}}'), (211, 1, 10, 'backup_schedule.run', '{"backup_schedule_id": 12}'),
    (212, 1, 10, 'backup_schedule.run', '[12]'), (213, 1, 10, 'backup_schedule.run', '"12"'),
    (214, 1, 10, 'backup_schedule.run', 'true'), (215, 1, 10, 'policy.export', '{}'),
    (216, 2, 20, 'backup_schedule.run', '{}'), (217, 1, 10, 'backup_schedule.run', '{}'),
    (218, 1, 10, 'backup_schedule.run', '{}'), (219, 1, 30, 'backup_schedule.run', '{}'),
    (220, 1, 10, 'backup_schedule.unheard', '{}'), (221, 1, 10, 'backup_schedule.run', '{"unbridged": true}'),
    (222, 1, 10, 'backup_schedule.retry', '{"backup_schedule_id": 13}')) AS v (id, w, t, type, context);
-- Active runs of one identity: without a tenant the application's index lets them pass.
INSERT INTO operation_runs (id, workspace_id, tenant_id, type, status, outcome, run_identity_hash, created_at) VALUES
    (300, 1, NULL, 'policy.sync', 'queued', 'pending', 'same', '2024-01-01'), (301, 1, NULL, 'policy.sync', 'running', 'pending', 'same', '2024-01-03'),
    (302, 1, NULL, 'policy.sync', 'queued', 'pending', 'same', '2024-01-02'), (303, 2, NULL, 'policy.sync', 'queued', 'pending', 'same', '2024-01-01'),
    (304, 1, NULL, 'policy.sync', 'completed', 'failed', 'same', '2024-01-09');

INSERT INTO inventory_sync_runs (id, tenant_id, selection_hash, status, operation_run_id, started_at, finished_at, created_at) VALUES
    (1, 10, 's', 'success', 100, '2024-01-01', '2024-01-02', '2024-01-01'), (2, 10, 's', 'success', NULL, NULL, NULL, NULL),
    (3, 10, 's', 'partial', 99999, NULL, NULL, '2024-02-01'), (4, 10, 's', 'failed', 101, NULL, NULL, '2024-02-01'),
    (5, 10, 's', 'running', 100, NULL, NULL, '2024-02-01'), (6, 20, 's', 'success', 101, NULL, NULL, '2024-02-01'),
    (7, 11, 's', 'success', 102, NULL, NULL, '2024-02-01'), (8, 30, 's', 'success', 103, NULL, NULL, '2024-02-01'),
    (9, 20, 's', 'pending', NULL, NULL, NULL, '2024-02-01');
INSERT INTO entra_group_sync_runs (id, tenant_id, initiator_user_id, selection_key, status, operation_run_id, started_at, finished_at) VALUES
    (1, 10, 1, 'k', 'succeeded', 106, NULL, NULL), (2, 10, NULL, 'k', 'failed', NULL, '2024-01-01', '2023-01-01');
INSERT INTO backup_schedule_runs (id, backup_schedule_id, tenant_id, scheduled_for, status, operation_run_id)
SELECT 1000 + row_number() OVER (), s, 10, timestamp '2024-01-01' + row_number() OVER () * interval '1 hour', 'success', r FROM (VALUES
    (12, 200), (12, 201), (12, 202), (13, 203), (12, 204), (12, 205), (12, 206), (12, 207), (12, 208), (12, 209), (12, 210), (12, 211),
    (12, 212), (12, 213), (12, 214), (12, 215), (12, 216), (12, 217), (13, 217), (12, 218), (12, 218), (15, 219), (12, 220), (12, 222),
    (14, NULL), (12, 88888)) AS v (s, r);
UPDATE backup_schedule_runs SET status = 'canceled', started_at = '2024-03-31 02:30:00', finished_at = '2024-03-30' WHERE operation_run_id IS NULL;

INSERT INTO findings (id, tenant_id, finding_type, baseline_run_id, current_run_id, fingerprint, evidence_jsonb, created_at, updated_at, deleted_at)
SELECT id, t, 'drift', b, c, 'f' || id, '{"e": 1}', '2021-03-28 02:30:00', NULL, d::timestamp FROM (VALUES
    (1, 10, 1, 5, NULL), (2, 10, 2, 3, NULL), (3, 10, 4, NULL, NULL), (4, 20, 1, 6, NULL), (5, 11, 7, 1, '2024-01-01'),
    (6, 30, 8, 1, NULL), (7, 10, NULL, NULL, NULL), (8, 20, 4, 4, NULL)) AS v (id, t, b, c, d);
INSERT INTO inventory_items (id, tenant_id, policy_type, external_id, meta_jsonb, last_seen_run_id, last_seen_operation_run_id)
SELECT id, t, 'p', 'e' || id, '{}', r, o FROM (VALUES
    (1, 10, 1, NULL), (2, 10, 1, 100), (3, 10, 1, 102), (4, 10, 1, 101), (5, 10, NULL, 100), (6, 10, 2, NULL),
    (7, 10, 3, NULL), (8, 10, 4, NULL), (9, 20, 4, NULL), (10, 30, 8, NULL), (11, 10, NULL, NULL), (12, 10, 4, 101), (13, 11, 7, NULL)) AS v (id, t, r, o);
-- A reference to nothing, which a disabled constraint once let in.
ALTER TABLE findings DROP CONSTRAINT findings_baseline_run_id_foreign;
INSERT INTO findings (id, tenant_id, finding_type, baseline_run_id, fingerprint) VALUES (9, 10, 'drift', 77777, 'f9');
ALTER TABLE findings ADD CONSTRAINT findings_baseline_run_id_foreign FOREIGN KEY (baseline_run_id) REFERENCES inventory_sync_runs(id) ON DELETE SET NULL NOT VALID;

-- Dependents of every kind, and tables of the application's own.
INSERT INTO backup_retention_holds (backup_schedule_run_id, reason) VALUES (1001, 'law');
INSERT INTO sync_alerts (tenant_id, inventory_sync_run_id, entra_group_sync_run_id, severity, message) VALUES (10, 1, 1, 'high', 'm');
INSERT INTO audit_logs (tenant_id, action, auditable_type, auditable_id) VALUES (10, 'created', 'App\Models\InventorySyncRun', 1);
REFRESH MATERIALIZED VIEW inventory_sync_daily_stats;
CREATE VIEW open_findings AS SELECT id, severity, created_at FROM findings WHERE status = 'new';
CREATE VIEW open_findings_today AS SELECT * FROM open_findings WHERE created_at > '2020-01-01';
COMMENT ON VIEW open_findings IS 'It''s ours';
GRANT SELECT ON open_findings TO PUBLIC;
CREATE MATERIALIZED VIEW runs_by_type AS SELECT type, count(*) AS n FROM operation_runs GROUP BY type;
CREATE UNIQUE INDEX runs_by_type_pk ON runs_by_type (type);
CREATE FUNCTION latest_sync() RETURNS bigint LANGUAGE sql AS 'SELECT max(id) FROM public.inventory_sync_runs';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at := now(); RETURN NEW; END';
CREATE TRIGGER entra_touch BEFORE UPDATE ON entra_group_sync_runs FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE operation_runs ADD COLUMN correlation uuid;
CREATE INDEX operation_runs_correlation_index ON operation_runs (correlation);
CREATE INDEX operation_runs_correlation_type_index ON operation_runs (correlation, type);
ALTER TABLE operation_runs ADD CONSTRAINT operation_runs_correlated CHECK (correlation IS NULL OR status <> 'lost'),
    ADD CONSTRAINT operation_runs_correlation_hash_unique UNIQUE (correlation, run_identity_hash);

SELECT setval(pg_get_serial_sequence(t, 'id'), 100000) FROM unnest(ARRAY['workspaces', 'users', 'tenants', 'operation_runs', 'findings',
    'inventory_items', 'inventory_sync_runs', 'entra_group_sync_runs', 'backup_schedules', 'backup_schedule_runs']) AS t;
