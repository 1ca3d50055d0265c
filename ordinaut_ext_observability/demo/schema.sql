-- The tables of an Ordinaut 2.2.2 database, as its API, scheduler and worker use them: names, types, defaults, keys and
-- constraints that their statements depend on.

CREATE TYPE schedule_kind AS ENUM ('cron', 'rrule', 'once', 'event', 'condition');

CREATE TABLE agent (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    webhook_url text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE task (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    description text NOT NULL,
    created_by uuid NOT NULL REFERENCES agent (id),
    schedule_kind schedule_kind NOT NULL,
    schedule_expr text,
    timezone text NOT NULL DEFAULT 'Europe/Chisinau',
    payload jsonb NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'canceled')),
    priority int NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 9),
    dedupe_key text,
    dedupe_window_seconds int NOT NULL DEFAULT 0,
    max_retries int NOT NULL DEFAULT 3,
    backoff_strategy text NOT NULL DEFAULT 'exponential_jitter',
    concurrency_key text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row per attempt, written when the attempt ends.
CREATE TABLE task_run (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    task_id uuid NOT NULL REFERENCES task (id),
    lease_owner text,
    leased_until timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    success boolean,
    error text,
    attempt int NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    output jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT chk_leased_until_future CHECK (leased_until IS NULL OR leased_until > now())
);

-- A row exists from when work is due until it is done.
CREATE TABLE due_work (
    id bigserial PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES task (id),
    run_at timestamptz NOT NULL,
    locked_until timestamptz,
    locked_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT chk_locked_until_future CHECK (locked_until IS NULL OR locked_until > now())
);

CREATE TABLE audit_log (
    id bigserial PRIMARY KEY,
    actor_agent_id uuid REFERENCES agent (id),
    action text NOT NULL,
    subject_id uuid,
    details jsonb,
    at timestamptz NOT NULL DEFAULT now()
);

-- One row per start of a worker; never deleted.
CREATE TABLE worker_heartbeat (
    worker_id text PRIMARY KEY,
    last_seen timestamptz NOT NULL DEFAULT now(),
    processed_count bigint NOT NULL DEFAULT 0,
    pid int,
    hostname text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX idx_due_work_run_at ON due_work (run_at);
CREATE INDEX idx_due_work_task_id ON due_work (task_id);
CREATE INDEX idx_due_work_ready ON due_work (run_at, locked_until) WHERE locked_until IS NULL;
CREATE INDEX idx_task_created_by ON task (created_by);
CREATE INDEX idx_task_status ON task (status);
CREATE INDEX idx_task_schedule_kind ON task (schedule_kind);
CREATE INDEX idx_task_run_task_id ON task_run (task_id);
CREATE INDEX idx_task_run_started_at ON task_run (started_at);
CREATE INDEX idx_task_run_success ON task_run (success);
CREATE INDEX idx_task_run_task_success ON task_run (task_id, success, started_at DESC);
CREATE INDEX idx_audit_log_actor ON audit_log (actor_agent_id);
CREATE INDEX idx_audit_log_at ON audit_log (at);
CREATE INDEX idx_audit_log_action ON audit_log (action);
CREATE INDEX idx_worker_heartbeat_last_seen ON worker_heartbeat (last_seen);
