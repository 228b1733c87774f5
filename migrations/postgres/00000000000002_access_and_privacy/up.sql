-- Who may act, what they did, and identities under seal.

-- Identities in clear cannot be sealed in SQL, and no release ever kept any: a database that has some is left as it is.
CREATE TABLE identities_in_clear (count INT8 NOT NULL CHECK (count = 0));
INSERT INTO identities_in_clear SELECT count(*) FROM household_identities;
DROP TABLE identities_in_clear;
DROP TABLE household_identities;

-- People, sessions, attempts --------------------------------------------------------------------

ALTER TABLE people ADD COLUMN disabled_at TIMESTAMPTZ;
ALTER TABLE people ADD COLUMN totp_sealed BYTEA; -- the secret of RFC 6238, sealed with the person's id
ALTER TABLE people ADD COLUMN totp_confirmed_at TIMESTAMPTZ; -- from then on a login asks for a code
ALTER TABLE people ADD COLUMN totp_last_step INT8; -- 30-second steps since 1970: a code is good once
ALTER TABLE people ADD COLUMN totp_pending_sealed BYTEA; -- begun, and not in force before a code of it has come

CREATE TABLE recovery_codes (
  person_id UUID NOT NULL REFERENCES people (id),
  digest BYTEA NOT NULL CHECK (length(digest) = 32), -- keyed
  used_at TIMESTAMPTZ,
  PRIMARY KEY (person_id, digest)
);

ALTER TABLE sessions ADD COLUMN second_factor_at TIMESTAMPTZ;
ALTER TABLE sessions ADD COLUMN wrong_codes INT4 NOT NULL DEFAULT 0; -- too many of them end the session
ALTER TABLE sessions ADD COLUMN address_digest BYTEA; -- keyed: where the login came from
CREATE INDEX sessions_by_person ON sessions (person_id, id);

-- Refresh tokens that were used up: one that comes again was stolen, or its successor was.
CREATE TABLE spent_refresh_tokens (
  digest BYTEA PRIMARY KEY CHECK (length(digest) = 32),
  session_id UUID NOT NULL REFERENCES sessions (id),
  spent_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX spent_refresh_tokens_by_session ON spent_refresh_tokens (session_id);

-- Failures that slow the next try down, under keyed digests of what was tried.
CREATE TABLE attempts (
  kind TEXT NOT NULL,
  subject BYTEA NOT NULL CHECK (length(subject) = 32),
  failures INT4 NOT NULL CHECK (failures >= 1),
  began_at TIMESTAMPTZ NOT NULL, -- the first of them
  last_at TIMESTAMPTZ NOT NULL CHECK (last_at >= began_at),
  PRIMARY KEY (kind, subject)
);
CREATE INDEX attempts_by_age ON attempts (last_at);

-- Every key this deployment has used, those that seal too: a start without one that is not retired must fail.
ALTER TABLE signing_keys DROP CONSTRAINT signing_keys_purpose_check;
ALTER TABLE signing_keys ADD CONSTRAINT signing_keys_purpose_check CHECK (purpose IN ('login', 'voucher', 'secret', 'identity'));
ALTER TABLE signing_keys ADD COLUMN retired_at TIMESTAMPTZ; -- no longer needed for anything

-- The audit log ---------------------------------------------------------------------------------

CREATE TABLE audit_entries (
  sequence INT8 PRIMARY KEY CHECK (sequence >= 1), -- without gaps
  occurred_at TIMESTAMPTZ NOT NULL,
  person_id UUID REFERENCES people (id), -- none: the service itself, or somebody not signed in
  organisation_id UUID REFERENCES organisations (id),
  action TEXT NOT NULL,
  subject TEXT, -- the id it was done to, as the API writes it
  detail TEXT, -- never a name
  digest BYTEA NOT NULL CHECK (length(digest) = 32) -- SHA-256 of the entry before and of the other columns
);
CREATE INDEX audit_by_organisation ON audit_entries (organisation_id, sequence);
CREATE INDEX audit_by_subject ON audit_entries (subject, sequence);
CREATE TRIGGER audit_entries_only_grow BEFORE UPDATE OR DELETE ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_entries_stay BEFORE TRUNCATE ON audit_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Identities under seal -------------------------------------------------------------------------

ALTER TABLE households ADD COLUMN contacted_at TIMESTAMPTZ NOT NULL DEFAULT 'epoch'; -- when its structure last dealt with it
UPDATE households SET contacted_at = created_at;
ALTER TABLE households ADD COLUMN erased_at TIMESTAMPTZ;
CREATE INDEX households_by_contact ON households (contacted_at, id) WHERE erased_at IS NULL;
CREATE INDEX enrolments_by_household ON enrolments (household_id);
CREATE INDEX vouchers_by_enrolment ON vouchers (enrolment_id);

CREATE TABLE sealed_identities (
  household_id UUID PRIMARY KEY REFERENCES households (id),
  key_id TEXT NOT NULL REFERENCES signing_keys (key_id), -- also in the seal: here to find what an old key still holds
  sealed BYTEA NOT NULL, -- XChaCha20-Poly1305 with the household's id; the key is not in the database
  updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX identities_by_key_id ON sealed_identities (key_id);

-- Keyed digests of what makes a household the same as another, by which duplicates are found without opening a seal.
CREATE TABLE household_fingerprints (
  household_id UUID NOT NULL REFERENCES households (id),
  kind TEXT NOT NULL CHECK (kind IN ('person', 'name', 'phone', 'email')),
  digest BYTEA NOT NULL CHECK (length(digest) = 32),
  PRIMARY KEY (household_id, kind)
);
-- same family name, first name and date of birth: the same person
CREATE UNIQUE INDEX one_household_a_person ON household_fingerprints (digest) WHERE kind = 'person';
CREATE INDEX fingerprints_by_digest ON household_fingerprints (digest, kind);

CREATE TABLE household_duplicates (
  id UUID PRIMARY KEY,
  first_household UUID NOT NULL REFERENCES households (id),
  second_household UUID NOT NULL REFERENCES households (id),
  found_at TIMESTAMPTZ NOT NULL,
  dismissed_at TIMESTAMPTZ,
  dismissed_by UUID REFERENCES people (id),
  reason_sealed BYTEA, -- may name somebody: sealed with the pair's id
  UNIQUE (first_household, second_household),
  CHECK (first_household < second_household),
  CHECK ((dismissed_at IS NULL) = (dismissed_by IS NULL) AND (dismissed_at IS NULL) = (reason_sealed IS NULL))
);
CREATE INDEX duplicates_by_second ON household_duplicates (second_household);

-- Erased is erased.
CREATE FUNCTION refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM households WHERE id = NEW.household_id AND erased_at IS NOT NULL) THEN
    RAISE EXCEPTION 'this household was erased' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END
$$;
CREATE FUNCTION stay_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'this household was erased' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER no_identities_of_the_erased BEFORE INSERT OR UPDATE OF household_id ON sealed_identities FOR EACH ROW EXECUTE FUNCTION refuse_erased();
CREATE TRIGGER no_fingerprints_of_the_erased BEFORE INSERT OR UPDATE OF household_id ON household_fingerprints FOR EACH ROW EXECUTE FUNCTION refuse_erased();
CREATE TRIGGER no_enrolments_of_the_erased BEFORE INSERT OR UPDATE OF household_id ON enrolments FOR EACH ROW EXECUTE FUNCTION refuse_erased();
CREATE TRIGGER households_stay_erased BEFORE UPDATE ON households FOR EACH ROW WHEN (OLD.erased_at IS NOT NULL) EXECUTE FUNCTION stay_erased();

-- What is sealed under a retired key could not be opened any more once its file is gone: a server that has not heard of
-- the retirement is refused. FOR SHARE, so that of a retirement and a seal under way each sees the other.
CREATE FUNCTION refuse_retired_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  sealed BYTEA;
  key TEXT;
BEGIN
  EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) INTO sealed USING NEW;
  key := encode(substr(sealed, 2, 4), 'hex'); -- after the version
  PERFORM FROM signing_keys WHERE key_id = key FOR SHARE;
  IF EXISTS (SELECT FROM signing_keys WHERE key_id = key AND retired_at IS NOT NULL) THEN
    RAISE EXCEPTION 'the key % is retired: nothing is sealed under it', key USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER identities_under_a_living_key BEFORE INSERT OR UPDATE OF sealed ON sealed_identities
  FOR EACH ROW EXECUTE FUNCTION refuse_retired_key('sealed');
CREATE TRIGGER reasons_under_a_living_key BEFORE INSERT OR UPDATE OF reason_sealed ON household_duplicates
  FOR EACH ROW WHEN (NEW.reason_sealed IS NOT NULL) EXECUTE FUNCTION refuse_retired_key('reason_sealed');
CREATE TRIGGER second_factors_under_a_living_key BEFORE INSERT OR UPDATE OF totp_sealed ON people
  FOR EACH ROW WHEN (NEW.totp_sealed IS NOT NULL) EXECUTE FUNCTION refuse_retired_key('totp_sealed');

-- Time ------------------------------------------------------------------------------------------

-- What time the servers have reached: nothing is recorded before it, even where a clock is set back.
CREATE TABLE clock (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  reached TIMESTAMPTZ NOT NULL
);
INSERT INTO clock (id, reached) VALUES (1, 'epoch');
