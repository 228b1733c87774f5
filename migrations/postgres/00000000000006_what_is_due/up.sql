-- After every writer that has begun, as they take these tables in another order.
SELECT pg_advisory_xact_lock(8102654598167491073);

-- The scheduler looks for what is due every minute: it finds it by its time, however many households there are.
CREATE INDEX enrolments_to_end ON enrolments (closes_at) WHERE state IN ('active', 'suspended');
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
-- What waits for its purchases, or for its own part, is due only when its window closes.
CREATE INDEX allowances_due_at ON allowances ((CASE WHEN purse = 'bonus' OR waits THEN closes_at ELSE opens_at END))
WHERE state = 'committed';
-- Nothing is known of an expression before.
ANALYZE allowances;
-- Readers are shut out for a moment only; where one of them takes hours, this fails, and all of it comes again later.
SET LOCAL lock_timeout = '10s';
DROP INDEX allowances_due;
ALTER INDEX allowances_due_at RENAME TO allowances_due;
