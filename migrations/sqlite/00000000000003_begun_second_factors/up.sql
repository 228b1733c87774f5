-- A second factor that was only begun is sealed too: nothing under a retired key there either. A database may have these
-- from a build between two releases.
CREATE TRIGGER IF NOT EXISTS begun_second_factors_under_a_living_key_insert BEFORE INSERT ON people
WHEN EXISTS (SELECT 1 FROM signing_keys WHERE key_id = lower(hex(substr(NEW.totp_pending_sealed, 2, 4))) AND retired_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'its key is retired: nothing is sealed under it');
END;
CREATE TRIGGER IF NOT EXISTS begun_second_factors_under_a_living_key_update BEFORE UPDATE OF totp_pending_sealed ON people
WHEN EXISTS (SELECT 1 FROM signing_keys WHERE key_id = lower(hex(substr(NEW.totp_pending_sealed, 2, 4))) AND retired_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'its key is retired: nothing is sealed under it');
END;
