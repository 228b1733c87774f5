-- A second factor that was only begun is sealed too: nothing under a retired key there either. A database may have this
-- from a build between two releases.
DROP TRIGGER IF EXISTS begun_second_factors_under_a_living_key ON people;
CREATE TRIGGER begun_second_factors_under_a_living_key BEFORE INSERT OR UPDATE OF totp_pending_sealed ON people
  FOR EACH ROW WHEN (NEW.totp_pending_sealed IS NOT NULL) EXECUTE FUNCTION refuse_retired_key('totp_pending_sealed');
