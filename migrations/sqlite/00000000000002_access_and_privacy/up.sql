-- Who may act, what they did, and identities under seal.

-- Identities in clear cannot be sealed in SQL, and no release ever kept any: a database that has some is left as it is.
CREATE TABLE identities_in_clear (count INTEGER NOT NULL CHECK (count = 0)) STRICT;
INSERT INTO identities_in_clear SELECT count(*) FROM household_identities;
DROP TABLE identities_in_clear;
DROP TABLE household_identities;

-- People, sessions, attempts --------------------------------------------------------------------

ALTER TABLE people ADD COLUMN disabled_at INTEGER;
ALTER TABLE people ADD COLUMN totp_sealed BLOB; -- the secret of RFC 6238, sealed with the person's id
ALTER TABLE people ADD COLUMN totp_confirmed_at INTEGER; -- from then on a login asks for a code
ALTER TABLE people ADD COLUMN totp_last_step INTEGER; -- 30-second steps since 1970: a code is good once
ALTER TABLE people ADD COLUMN totp_pending_sealed BLOB; -- begun, and not in force before a code of it has come

CREATE TABLE recovery_codes (
  person_id BLOB NOT NULL REFERENCES people (id),
  digest BLOB NOT NULL CHECK (length(digest) = 32), -- keyed
  used_at INTEGER,
  PRIMARY KEY (person_id, digest)
) STRICT;

ALTER TABLE sessions ADD COLUMN second_factor_at INTEGER;
ALTER TABLE sessions ADD COLUMN wrong_codes INTEGER NOT NULL DEFAULT 0; -- too many of them end the session
ALTER TABLE sessions ADD COLUMN address_digest BLOB; -- keyed: where the login came from
CREATE INDEX sessions_by_person ON sessions (person_id, id);

-- Refresh tokens that were used up: one that comes again was stolen, or its successor was.
CREATE TABLE spent_refresh_tokens (
  digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
  session_id BLOB NOT NULL REFERENCES sessions (id),
  spent_at INTEGER NOT NULL
) STRICT;
CREATE INDEX spent_refresh_tokens_by_session ON spent_refresh_tokens (session_id);

-- Failures that slow the next try down, under keyed digests of what was tried.
CREATE TABLE attempts (
  kind TEXT NOT NULL,
  subject BLOB NOT NULL CHECK (length(subject) = 32),
  failures INTEGER NOT NULL CHECK (failures >= 1),
  began_at INTEGER NOT NULL, -- the first of them
  last_at INTEGER NOT NULL CHECK (last_at >= began_at),
  PRIMARY KEY (kind, subject)
) STRICT;
CREATE INDEX attempts_by_age ON attempts (last_at);

-- Every key this deployment has used, those that seal too: a start without one that is not retired must fail.
ALTER TABLE signing_keys RENAME TO signing_keys_before;
CREATE TABLE signing_keys (
  key_id TEXT PRIMARY KEY,
  purpose TEXT NOT NULL CHECK (purpose IN ('login', 'voucher', 'secret', 'identity')),
  created_at INTEGER NOT NULL,
  retired_at INTEGER -- no longer needed for anything
) STRICT;
INSERT INTO signing_keys SELECT key_id, purpose, created_at, NULL FROM signing_keys_before;
DROP TABLE signing_keys_before;

-- The audit log ---------------------------------------------------------------------------------

CREATE TABLE audit_entries (
  sequence INTEGER PRIMARY KEY CHECK (sequence >= 1), -- without gaps
  occurred_at INTEGER NOT NULL,
  person_id BLOB REFERENCES people (id), -- none: the service itself, or somebody not signed in
  organisation_id BLOB REFERENCES organisations (id),
  action TEXT NOT NULL,
  subject TEXT, -- the id it was done to, as the API writes it
  detail TEXT, -- never a name
  digest BLOB NOT NULL CHECK (length(digest) = 32) -- SHA-256 of the entry before and of the other columns
) STRICT;
CREATE INDEX audit_by_organisation ON audit_entries (organisation_id, sequence);
CREATE INDEX audit_by_subject ON audit_entries (subject, sequence);
CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
BEGIN
  SELECT RAISE(ABORT, 'audit_entries only grows: correct it with a further row');
END;
CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
BEGIN
  SELECT RAISE(ABORT, 'audit_entries only grows: correct it with a further row');
END;
CREATE TRIGGER audit_entries_no_replace BEFORE INSERT ON audit_entries
WHEN EXISTS (SELECT 1 FROM audit_entries WHERE sequence = NEW.sequence)
BEGIN
  SELECT RAISE(ABORT, 'audit_entries only grows: correct it with a further row');
END;

-- Identities under seal -------------------------------------------------------------------------

ALTER TABLE households ADD COLUMN contacted_at INTEGER NOT NULL DEFAULT 0; -- when its structure last dealt with it
UPDATE households SET contacted_at = created_at;
ALTER TABLE households ADD COLUMN erased_at INTEGER;
CREATE INDEX households_by_contact ON households (contacted_at, id) WHERE erased_at IS NULL;
CREATE INDEX enrolments_by_household ON enrolments (household_id);
CREATE INDEX vouchers_by_enrolment ON vouchers (enrolment_id);

CREATE TABLE sealed_identities (
  household_id BLOB PRIMARY KEY REFERENCES households (id),
  key_id TEXT NOT NULL REFERENCES signing_keys (key_id), -- also in the seal: here to find what an old key still holds
  sealed BLOB NOT NULL, -- XChaCha20-Poly1305 with the household's id; the key is not in the database
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX identities_by_key_id ON sealed_identities (key_id);

-- Keyed digests of what makes a household the same as another, by which duplicates are found without opening a seal.
CREATE TABLE household_fingerprints (
  household_id BLOB NOT NULL REFERENCES households (id),
  kind TEXT NOT NULL CHECK (kind IN ('person', 'name', 'phone', 'email')),
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  PRIMARY KEY (household_id, kind)
) STRICT;
-- same family name, first name and date of birth: the same person
CREATE UNIQUE INDEX one_household_a_person ON household_fingerprints (digest) WHERE kind = 'person';
CREATE INDEX fingerprints_by_digest ON household_fingerprints (digest, kind);

CREATE TABLE household_duplicates (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  first_household BLOB NOT NULL REFERENCES households (id),
  second_household BLOB NOT NULL REFERENCES households (id),
  found_at INTEGER NOT NULL,
  dismissed_at INTEGER,
  dismissed_by BLOB REFERENCES people (id),
  reason_sealed BLOB, -- may name somebody: sealed with the pair's id
  UNIQUE (first_household, second_household),
  CHECK (first_household < second_household),
  CHECK ((dismissed_at IS NULL) = (dismissed_by IS NULL) AND (dismissed_at IS NULL) = (reason_sealed IS NULL))
) STRICT;
CREATE INDEX duplicates_by_second ON household_duplicates (second_household);

-- Erased is erased.
CREATE TRIGGER no_identities_of_the_erased_insert BEFORE INSERT ON sealed_identities
WHEN EXISTS (SELECT 1 FROM households WHERE id = NEW.household_id AND erased_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'this household was erased');
END;
CREATE TRIGGER no_identities_of_the_erased_update BEFORE UPDATE OF household_id ON sealed_identities
WHEN EXISTS (SELECT 1 FROM households WHERE id = NEW.household_id AND erased_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'this household was erased');
END;
CREATE TRIGGER no_fingerprints_of_the_erased_insert BEFORE INSERT ON household_fingerprints
WHEN EXISTS (SELECT 1 FROM households WHERE id = NEW.household_id AND erased_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'this household was erased');
END;
CREATE TRIGGER no_fingerprints_of_the_erased_update BEFORE UPDATE OF household_id ON household_fingerprints
WHEN EXISTS (SELECT 1 FROM households WHERE id = NEW.household_id AND erased_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'this household was erased');
END;
CREATE TRIGGER no_enrolments_of_the_erased_insert BEFORE INSERT ON enrolments
WHEN EXISTS (SELECT 1 FROM households WHERE id = NEW.household_id AND erased_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'this household was erased');
END;
CREATE TRIGGER no_enrolments_of_the_erased_update BEFORE UPDATE OF household_id ON enrolments
WHEN EXISTS (SELECT 1 FROM households WHERE id = NEW.household_id AND erased_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'this household was erased');
END;
CREATE TRIGGER households_stay_erased BEFORE UPDATE ON households WHEN OLD.erased_at IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'this household was erased');
END;

-- What is sealed under a retired key could not be opened any more once its file is gone: a server that has not heard of
-- the retirement is refused.
CREATE TRIGGER identities_under_a_living_key_insert BEFORE INSERT ON sealed_identities
WHEN EXISTS (SELECT 1 FROM signing_keys WHERE key_id = lower(hex(substr(NEW.sealed, 2, 4))) AND retired_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'its key is retired: nothing is sealed under it');
END;
CREATE TRIGGER identities_under_a_living_key_update BEFORE UPDATE OF sealed ON sealed_identities
WHEN EXISTS (SELECT 1 FROM signing_keys WHERE key_id = lower(hex(substr(NEW.sealed, 2, 4))) AND retired_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'its key is retired: nothing is sealed under it');
END;
CREATE TRIGGER reasons_under_a_living_key_insert BEFORE INSERT ON household_duplicates
WHEN EXISTS (SELECT 1 FROM signing_keys WHERE key_id = lower(hex(substr(NEW.reason_sealed, 2, 4))) AND retired_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'its key is retired: nothing is sealed under it');
END;
CREATE TRIGGER reasons_under_a_living_key_update BEFORE UPDATE OF reason_sealed ON household_duplicates
WHEN EXISTS (SELECT 1 FROM signing_keys WHERE key_id = lower(hex(substr(NEW.reason_sealed, 2, 4))) AND retired_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'its key is retired: nothing is sealed under it');
END;
CREATE TRIGGER second_factors_under_a_living_key_insert BEFORE INSERT ON people
WHEN EXISTS (SELECT 1 FROM signing_keys WHERE key_id = lower(hex(substr(NEW.totp_sealed, 2, 4))) AND retired_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'its key is retired: nothing is sealed under it');
END;
CREATE TRIGGER second_factors_under_a_living_key_update BEFORE UPDATE OF totp_sealed ON people
WHEN EXISTS (SELECT 1 FROM signing_keys WHERE key_id = lower(hex(substr(NEW.totp_sealed, 2, 4))) AND retired_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'its key is retired: nothing is sealed under it');
END;

-- Time ------------------------------------------------------------------------------------------

-- What time the servers have reached: nothing is recorded before it, even where a clock is set back.
CREATE TABLE clock (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  reached INTEGER NOT NULL
) STRICT;
INSERT INTO clock (id, reached) VALUES (1, 0);
