-- The whole schema on SQLite. Instants are microseconds since 1970 UTC, days are YYYY-MM-DD.

-- Organisations, people, sessions ---------------------------------------------------------------

CREATE TABLE organisations (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  kind TEXT NOT NULL CHECK (kind IN ('operator', 'manager', 'social_structure', 'producer', 'funder', 'evaluator')),
  name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  created_by BLOB REFERENCES organisations (id), -- the organisation that brought it in
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE people (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  organisation_id BLOB NOT NULL REFERENCES organisations (id),
  email TEXT NOT NULL UNIQUE CHECK (email = lower(email)),
  name TEXT NOT NULL,
  lead INTEGER NOT NULL CHECK (lead IN (0, 1)),
  password_hash TEXT, -- argon2id, PHC string; none until the invitation is accepted
  invitation_digest BLOB UNIQUE, -- SHA-256 of the one-time secret
  invitation_expires_at INTEGER,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX people_by_organisation ON people (organisation_id, id);

CREATE TABLE sessions (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  person_id BLOB NOT NULL REFERENCES people (id),
  refresh_digest BLOB NOT NULL UNIQUE, -- SHA-256 of the refresh token
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  ended_at INTEGER
) STRICT;

-- Every key this deployment has signed with: a start without one of them must fail, not void the cards.
CREATE TABLE signing_keys (
  key_id TEXT PRIMARY KEY,
  purpose TEXT NOT NULL CHECK (purpose IN ('login', 'voucher', 'secret')),
  created_at INTEGER NOT NULL
) STRICT;

-- The first answer to each client-made key, written in the transaction of its effect.
CREATE TABLE idempotency_keys (
  organisation_id BLOB NOT NULL REFERENCES organisations (id),
  key TEXT NOT NULL,
  request_digest BLOB NOT NULL,
  answer TEXT,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (organisation_id, key)
) STRICT;

-- Programmes and the agreements behind them -----------------------------------------------------

CREATE TABLE programmes (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  organisation_id BLOB NOT NULL REFERENCES organisations (id),
  name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  state TEXT NOT NULL CHECK (state IN ('draft', 'open', 'closed')),
  time_zone TEXT NOT NULL,
  starts_on TEXT NOT NULL,
  ends_on TEXT NOT NULL CHECK (ends_on >= starts_on),
  funding_rule TEXT NOT NULL CHECK (funding_rule IN ('fixed_shares', 'priority')),
  rules TEXT NOT NULL, -- JSON; frozen once the programme is open
  legal_basis TEXT,
  legal_reference TEXT,
  created_at INTEGER NOT NULL,
  opened_at INTEGER,
  closed_at INTEGER,
  CHECK (state = 'draft' OR (legal_basis IS NOT NULL AND legal_reference IS NOT NULL AND opened_at IS NOT NULL))
) STRICT;

CREATE TABLE programme_communes (
  programme_id BLOB NOT NULL REFERENCES programmes (id),
  code TEXT NOT NULL CHECK (length(code) = 5), -- INSEE
  name TEXT NOT NULL,
  PRIMARY KEY (programme_id, code)
) STRICT;

-- Social structures that may enrol and evaluators that may read.
CREATE TABLE programme_members (
  programme_id BLOB NOT NULL REFERENCES programmes (id),
  organisation_id BLOB NOT NULL REFERENCES organisations (id),
  since INTEGER NOT NULL,
  PRIMARY KEY (programme_id, organisation_id)
) STRICT;

CREATE TABLE agreements (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  programme_id BLOB NOT NULL REFERENCES programmes (id),
  funder_id BLOB NOT NULL REFERENCES organisations (id),
  reference TEXT NOT NULL CHECK (length(reference) BETWEEN 1 AND 100),
  position INTEGER NOT NULL CHECK (position >= 1), -- order of priority, and of ties
  share_weight INTEGER NOT NULL CHECK (share_weight BETWEEN 1 AND 10000),
  granted_cents INTEGER NOT NULL CHECK (granted_cents > 0),
  starts_on TEXT NOT NULL,
  ends_on TEXT NOT NULL CHECK (ends_on >= starts_on),
  grace_days INTEGER NOT NULL CHECK (grace_days BETWEEN 0 AND 366),
  signed_at INTEGER NOT NULL,
  UNIQUE (programme_id, position),
  UNIQUE (programme_id, reference)
) STRICT;
CREATE INDEX agreements_by_funder ON agreements (funder_id);

-- The agreements that share a window, and all they were ever asked for together: the base of the rounding.
CREATE TABLE funding_sets (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  programme_id BLOB NOT NULL REFERENCES programmes (id),
  members TEXT NOT NULL, -- agr_...:weight agr_...:weight, in order of position
  cumulated_cents INTEGER NOT NULL CHECK (cumulated_cents >= 0),
  UNIQUE (programme_id, members)
) STRICT;

-- The ledger ------------------------------------------------------------------------------------

CREATE TABLE accounts (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  agreement_id BLOB NOT NULL REFERENCES agreements (id),
  kind TEXT NOT NULL CHECK (kind IN ('funder', 'available', 'committed', 'allowance', 'payable')),
  producer_id BLOB REFERENCES organisations (id),
  balance_cents INTEGER NOT NULL DEFAULT 0,
  UNIQUE (id, agreement_id),
  CHECK ((kind = 'payable') = (producer_id IS NOT NULL)),
  CONSTRAINT no_account_is_overdrawn CHECK (CASE WHEN kind = 'funder' THEN balance_cents <= 0 ELSE balance_cents >= 0 END)
) STRICT;
CREATE UNIQUE INDEX one_account_of_a_kind ON accounts (agreement_id, kind) WHERE kind IN ('funder', 'available', 'committed');
CREATE UNIQUE INDEX one_payable_a_producer ON accounts (agreement_id, producer_id) WHERE kind = 'payable';

CREATE TABLE transfers (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  debit_account BLOB NOT NULL,
  credit_account BLOB NOT NULL,
  agreement_id BLOB NOT NULL,
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  code TEXT NOT NULL CHECK (code IN ('grant', 'commit', 'release', 'issue', 'redeem', 'void', 'return')),
  reference BLOB NOT NULL, -- grant: agreement; commit, release, issue, return: allowance; redeem, void: redemption
  reverses BLOB UNIQUE REFERENCES transfers (id), -- a transfer is undone at most once
  occurred_at INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL, -- decides the month
  digest BLOB NOT NULL CHECK (length(digest) = 32), -- SHA-256 of the other columns
  CHECK (debit_account <> credit_account),
  CHECK ((code = 'void') = (reverses IS NOT NULL)),
  -- both accounts belong to the transfer's agreement: no cent crosses from one funder to another
  FOREIGN KEY (debit_account, agreement_id) REFERENCES accounts (id, agreement_id),
  FOREIGN KEY (credit_account, agreement_id) REFERENCES accounts (id, agreement_id)
) STRICT;
CREATE INDEX transfers_by_month ON transfers (agreement_id, recorded_at);
CREATE INDEX transfers_by_reference ON transfers (reference);

-- Producers -------------------------------------------------------------------------------------

CREATE TABLE producers (
  id BLOB PRIMARY KEY REFERENCES organisations (id),
  siret TEXT NOT NULL UNIQUE CHECK (length(siret) = 14),
  iban TEXT NOT NULL,
  account_holder TEXT NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE stalls (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  producer_id BLOB NOT NULL REFERENCES organisations (id),
  name TEXT NOT NULL,
  commune_code TEXT NOT NULL,
  commune_name TEXT NOT NULL,
  open INTEGER NOT NULL CHECK (open IN (0, 1)),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX stalls_by_producer ON stalls (producer_id, id);

CREATE TABLE applications (
  programme_id BLOB NOT NULL REFERENCES programmes (id),
  producer_id BLOB NOT NULL REFERENCES producers (id),
  state TEXT NOT NULL CHECK (state IN ('applied', 'approved', 'refused', 'suspended')),
  applied_at INTEGER NOT NULL,
  decided_at INTEGER,
  decided_by BLOB REFERENCES people (id),
  PRIMARY KEY (programme_id, producer_id),
  CHECK ((state = 'applied') = (decided_at IS NULL))
) STRICT;
CREATE INDEX applications_by_producer ON applications (producer_id);

-- Households and enrolments ---------------------------------------------------------------------

CREATE TABLE households (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  organisation_id BLOB NOT NULL REFERENCES organisations (id),
  reference TEXT NOT NULL,
  adults INTEGER NOT NULL CHECK (adults BETWEEN 1 AND 20),
  children INTEGER NOT NULL CHECK (children BETWEEN 0 AND 20),
  commune_code TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (organisation_id, reference)
) STRICT;
CREATE INDEX households_by_organisation ON households (organisation_id, id);

-- Who they are, apart from what they get, so that it can be erased alone.
CREATE TABLE household_identities (
  household_id BLOB PRIMARY KEY REFERENCES households (id),
  name TEXT,
  contact TEXT,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE enrolments (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  household_id BLOB NOT NULL REFERENCES households (id),
  programme_id BLOB NOT NULL REFERENCES programmes (id),
  organisation_id BLOB NOT NULL REFERENCES organisations (id),
  -- the composition and commune that the promise was made on
  adults INTEGER NOT NULL,
  children INTEGER NOT NULL,
  commune_code TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'active', 'suspended', 'left', 'ended')),
  starts_on TEXT NOT NULL,
  promised_cents INTEGER NOT NULL CHECK (promised_cents > 0),
  closes_at INTEGER, -- when the last allowance closes; none while waiting
  waiting_since INTEGER,
  activated_at INTEGER,
  left_at INTEGER,
  created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_running_enrolment ON enrolments (household_id, programme_id) WHERE state IN ('waiting', 'active', 'suspended');
CREATE INDEX enrolments_by_organisation ON enrolments (organisation_id, id);
CREATE INDEX waiting_list ON enrolments (programme_id, waiting_since, id) WHERE state = 'waiting';
CREATE INDEX enrolments_by_programme ON enrolments (programme_id, state);

-- Allowances ------------------------------------------------------------------------------------

CREATE TABLE allowances (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  enrolment_id BLOB NOT NULL REFERENCES enrolments (id),
  period INTEGER NOT NULL CHECK (period >= 1),
  starts_on TEXT NOT NULL,
  ends_on TEXT NOT NULL CHECK (ends_on >= starts_on),
  opens_at INTEGER NOT NULL,
  closes_at INTEGER NOT NULL CHECK (closes_at > opens_at), -- the first instant that is too late
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  state TEXT NOT NULL CHECK (state IN ('committed', 'issued', 'released')),
  funding_set_id BLOB REFERENCES funding_sets (id), -- none where the rule is priority
  issued_at INTEGER,
  UNIQUE (enrolment_id, period),
  CHECK ((state = 'issued') = (issued_at IS NOT NULL))
) STRICT;
CREATE INDEX allowances_due ON allowances (opens_at) WHERE state = 'committed';

-- One part an agreement; once issued, the part's id is also the id of its account in the ledger.
CREATE TABLE allowance_parts (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  allowance_id BLOB NOT NULL REFERENCES allowances (id),
  agreement_id BLOB NOT NULL REFERENCES agreements (id),
  position INTEGER NOT NULL,
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  spendable_until INTEGER NOT NULL, -- the earlier of the window's and the agreement's end; later only after a late void
  open INTEGER NOT NULL CHECK (open IN (0, 1)), -- issued, and its rest not yet returned
  UNIQUE (allowance_id, agreement_id)
) STRICT;
CREATE INDEX parts_to_close ON allowance_parts (spendable_until) WHERE open = 1;

-- Vouchers and redemptions ----------------------------------------------------------------------

CREATE TABLE vouchers (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  enrolment_id BLOB NOT NULL REFERENCES enrolments (id),
  organisation_id BLOB NOT NULL REFERENCES organisations (id),
  state TEXT NOT NULL CHECK (state IN ('active', 'blocked', 'replaced')),
  code_digest BLOB NOT NULL UNIQUE, -- keyed: the typed code itself is nowhere in the database
  code_try INTEGER NOT NULL,
  valid_from TEXT NOT NULL,
  valid_to TEXT NOT NULL,
  replaces BLOB UNIQUE REFERENCES vouchers (id),
  created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_standing_voucher ON vouchers (enrolment_id) WHERE state IN ('active', 'blocked');

CREATE TABLE redemptions (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  voucher_id BLOB NOT NULL REFERENCES vouchers (id),
  enrolment_id BLOB NOT NULL REFERENCES enrolments (id),
  producer_id BLOB NOT NULL REFERENCES organisations (id),
  stall_id BLOB NOT NULL REFERENCES stalls (id),
  person_id BLOB NOT NULL REFERENCES people (id),
  siret TEXT NOT NULL CHECK (length(siret) = 14), -- the producer's on the day: a closed month keeps it
  basket_cents INTEGER NOT NULL CHECK (basket_cents > 0),
  covered_cents INTEGER NOT NULL CHECK (covered_cents > 0),
  void_until INTEGER NOT NULL,
  occurred_at INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  CHECK (covered_cents <= basket_cents)
) STRICT;
CREATE INDEX redemptions_by_producer ON redemptions (producer_id, id);
CREATE INDEX redemptions_by_voucher ON redemptions (voucher_id, recorded_at);

CREATE TABLE redemption_lines (
  redemption_id BLOB NOT NULL REFERENCES redemptions (id),
  position INTEGER NOT NULL,
  category TEXT NOT NULL,
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  PRIMARY KEY (redemption_id, position)
) STRICT;

CREATE TABLE voids (
  redemption_id BLOB PRIMARY KEY REFERENCES redemptions (id), -- undone at most once
  person_id BLOB NOT NULL REFERENCES people (id),
  reason TEXT,
  recorded_at INTEGER NOT NULL
) STRICT;

-- The journal only grows ------------------------------------------------------------------------

CREATE TRIGGER transfers_no_update BEFORE UPDATE ON transfers
BEGIN
  SELECT RAISE(ABORT, 'transfers only grows: correct it with a further row');
END;
CREATE TRIGGER transfers_no_delete BEFORE DELETE ON transfers
BEGIN
  SELECT RAISE(ABORT, 'transfers only grows: correct it with a further row');
END;
CREATE TRIGGER redemptions_no_update BEFORE UPDATE ON redemptions
BEGIN
  SELECT RAISE(ABORT, 'redemptions only grows: correct it with a further row');
END;
CREATE TRIGGER redemptions_no_delete BEFORE DELETE ON redemptions
BEGIN
  SELECT RAISE(ABORT, 'redemptions only grows: correct it with a further row');
END;
CREATE TRIGGER redemption_lines_no_update BEFORE UPDATE ON redemption_lines
BEGIN
  SELECT RAISE(ABORT, 'redemption_lines only grows: correct it with a further row');
END;
CREATE TRIGGER redemption_lines_no_delete BEFORE DELETE ON redemption_lines
BEGIN
  SELECT RAISE(ABORT, 'redemption_lines only grows: correct it with a further row');
END;
CREATE TRIGGER voids_no_update BEFORE UPDATE ON voids
BEGIN
  SELECT RAISE(ABORT, 'voids only grows: correct it with a further row');
END;
CREATE TRIGGER voids_no_delete BEFORE DELETE ON voids
BEGIN
  SELECT RAISE(ABORT, 'voids only grows: correct it with a further row');
END;
CREATE TRIGGER agreements_no_update BEFORE UPDATE ON agreements
BEGIN
  SELECT RAISE(ABORT, 'agreements only grows: correct it with a further row');
END;
CREATE TRIGGER agreements_no_delete BEFORE DELETE ON agreements
BEGIN
  SELECT RAISE(ABORT, 'agreements only grows: correct it with a further row');
END;

-- INSERT OR REPLACE deletes the rows in its way without asking the triggers above.
CREATE TRIGGER transfers_no_replace BEFORE INSERT ON transfers
WHEN EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id OR reverses = NEW.reverses)
BEGIN
  SELECT RAISE(ABORT, 'transfers only grows: correct it with a further row');
END;
CREATE TRIGGER redemptions_no_replace BEFORE INSERT ON redemptions
WHEN EXISTS (SELECT 1 FROM redemptions WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT, 'redemptions only grows: correct it with a further row');
END;
CREATE TRIGGER redemption_lines_no_replace BEFORE INSERT ON redemption_lines
WHEN EXISTS (SELECT 1 FROM redemption_lines WHERE redemption_id = NEW.redemption_id AND position = NEW.position)
BEGIN
  SELECT RAISE(ABORT, 'redemption_lines only grows: correct it with a further row');
END;
CREATE TRIGGER voids_no_replace BEFORE INSERT ON voids
WHEN EXISTS (SELECT 1 FROM voids WHERE redemption_id = NEW.redemption_id)
BEGIN
  SELECT RAISE(ABORT, 'voids only grows: correct it with a further row');
END;
CREATE TRIGGER agreements_no_replace BEFORE INSERT ON agreements
WHEN EXISTS (SELECT 1 FROM agreements WHERE id = NEW.id OR (programme_id = NEW.programme_id AND (position = NEW.position OR reference = NEW.reference)))
BEGIN
  SELECT RAISE(ABORT, 'agreements only grows: correct it with a further row');
END;

-- What was promised to whom stays; states and balances move on ------------------------------------

CREATE TRIGGER enrolments_keep BEFORE UPDATE ON enrolments
WHEN (OLD.id, OLD.household_id, OLD.programme_id, OLD.organisation_id, OLD.adults, OLD.children, OLD.commune_code, OLD.promised_cents) IS NOT (NEW.id, NEW.household_id, NEW.programme_id, NEW.organisation_id, NEW.adults, NEW.children, NEW.commune_code, NEW.promised_cents)
BEGIN
  SELECT RAISE(ABORT, 'enrolments keeps what it was written with');
END;
CREATE TRIGGER accounts_keep BEFORE UPDATE ON accounts
WHEN (OLD.id, OLD.agreement_id, OLD.kind, OLD.producer_id) IS NOT (NEW.id, NEW.agreement_id, NEW.kind, NEW.producer_id)
BEGIN
  SELECT RAISE(ABORT, 'accounts keeps what it was written with');
END;
CREATE TRIGGER allowances_keep BEFORE UPDATE ON allowances
WHEN (OLD.id, OLD.enrolment_id, OLD.period, OLD.starts_on, OLD.ends_on, OLD.opens_at, OLD.closes_at, OLD.amount_cents) IS NOT (NEW.id, NEW.enrolment_id, NEW.period, NEW.starts_on, NEW.ends_on, NEW.opens_at, NEW.closes_at, NEW.amount_cents)
BEGIN
  SELECT RAISE(ABORT, 'allowances keeps what it was written with');
END;
CREATE TRIGGER allowance_parts_keep BEFORE UPDATE ON allowance_parts
WHEN (OLD.id, OLD.allowance_id, OLD.agreement_id, OLD.position, OLD.amount_cents) IS NOT (NEW.id, NEW.allowance_id, NEW.agreement_id, NEW.position, NEW.amount_cents)
BEGIN
  SELECT RAISE(ABORT, 'allowance_parts keeps what it was written with');
END;
