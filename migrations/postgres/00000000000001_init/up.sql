-- The whole schema on PostgreSQL.

-- Organisations, people, sessions ---------------------------------------------------------------

CREATE TABLE organisations (
  id UUID PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('operator', 'manager', 'social_structure', 'producer', 'funder', 'evaluator')),
  name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  created_by UUID REFERENCES organisations (id), -- the organisation that brought it in
  created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE people (
  id UUID PRIMARY KEY,
  organisation_id UUID NOT NULL REFERENCES organisations (id),
  email TEXT NOT NULL UNIQUE CHECK (email = lower(email)),
  name TEXT NOT NULL,
  lead BOOLEAN NOT NULL,
  password_hash TEXT, -- argon2id, PHC string; none until the invitation is accepted
  invitation_digest BYTEA UNIQUE, -- SHA-256 of the one-time secret
  invitation_expires_at TIMESTAMPTZ,
  created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX people_by_organisation ON people (organisation_id, id);

CREATE TABLE sessions (
  id UUID PRIMARY KEY,
  person_id UUID NOT NULL REFERENCES people (id),
  refresh_digest BYTEA NOT NULL UNIQUE, -- SHA-256 of the refresh token
  created_at TIMESTAMPTZ NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL,
  ended_at TIMESTAMPTZ
);

-- Every key this deployment has signed with: a start without one of them must fail, not void the cards.
CREATE TABLE signing_keys (
  key_id TEXT PRIMARY KEY,
  purpose TEXT NOT NULL CHECK (purpose IN ('login', 'voucher', 'secret')),
  created_at TIMESTAMPTZ NOT NULL
);

-- The first answer to each client-made key, written in the transaction of its effect.
CREATE TABLE idempotency_keys (
  organisation_id UUID NOT NULL REFERENCES organisations (id),
  key TEXT NOT NULL,
  request_digest BYTEA NOT NULL,
  answer TEXT,
  created_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (organisation_id, key)
);

-- Programmes and the agreements behind them -----------------------------------------------------

CREATE TABLE programmes (
  id UUID PRIMARY KEY,
  organisation_id UUID NOT NULL REFERENCES organisations (id),
  name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  state TEXT NOT NULL CHECK (state IN ('draft', 'open', 'closed')),
  time_zone TEXT NOT NULL,
  starts_on DATE NOT NULL,
  ends_on DATE NOT NULL CHECK (ends_on >= starts_on),
  funding_rule TEXT NOT NULL CHECK (funding_rule IN ('fixed_shares', 'priority')),
  rules TEXT NOT NULL, -- JSON; frozen once the programme is open
  legal_basis TEXT,
  legal_reference TEXT,
  created_at TIMESTAMPTZ NOT NULL,
  opened_at TIMESTAMPTZ,
  closed_at TIMESTAMPTZ,
  CHECK (state = 'draft' OR (legal_basis IS NOT NULL AND legal_reference IS NOT NULL AND opened_at IS NOT NULL))
);

CREATE TABLE programme_communes (
  programme_id UUID NOT NULL REFERENCES programmes (id),
  code TEXT NOT NULL CHECK (length(code) = 5), -- INSEE
  name TEXT NOT NULL,
  PRIMARY KEY (programme_id, code)
);

-- Social structures that may enrol and evaluators that may read.
CREATE TABLE programme_members (
  programme_id UUID NOT NULL REFERENCES programmes (id),
  organisation_id UUID NOT NULL REFERENCES organisations (id),
  since TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (programme_id, organisation_id)
);

CREATE TABLE agreements (
  id UUID PRIMARY KEY,
  programme_id UUID NOT NULL REFERENCES programmes (id),
  funder_id UUID NOT NULL REFERENCES organisations (id),
  reference TEXT NOT NULL CHECK (length(reference) BETWEEN 1 AND 100),
  position INT4 NOT NULL CHECK (position >= 1), -- order of priority, and of ties
  share_weight INT4 NOT NULL CHECK (share_weight BETWEEN 1 AND 10000),
  granted_cents INT8 NOT NULL CHECK (granted_cents > 0),
  starts_on DATE NOT NULL,
  ends_on DATE NOT NULL CHECK (ends_on >= starts_on),
  grace_days INT4 NOT NULL CHECK (grace_days BETWEEN 0 AND 366),
  signed_at TIMESTAMPTZ NOT NULL,
  UNIQUE (programme_id, position),
  UNIQUE (programme_id, reference)
);
CREATE INDEX agreements_by_funder ON agreements (funder_id);

-- The agreements that share a window, and all they were ever asked for together: the base of the rounding.
CREATE TABLE funding_sets (
  id UUID PRIMARY KEY,
  programme_id UUID NOT NULL REFERENCES programmes (id),
  members TEXT NOT NULL, -- agr_...:weight agr_...:weight, in order of position
  cumulated_cents INT8 NOT NULL CHECK (cumulated_cents >= 0),
  UNIQUE (programme_id, members)
);

-- The ledger ------------------------------------------------------------------------------------

CREATE TABLE accounts (
  id UUID PRIMARY KEY,
  agreement_id UUID NOT NULL REFERENCES agreements (id),
  kind TEXT NOT NULL CHECK (kind IN ('funder', 'available', 'committed', 'allowance', 'payable')),
  producer_id UUID REFERENCES organisations (id),
  balance_cents INT8 NOT NULL DEFAULT 0,
  UNIQUE (id, agreement_id),
  CHECK ((kind = 'payable') = (producer_id IS NOT NULL)),
  CONSTRAINT no_account_is_overdrawn CHECK (CASE WHEN kind = 'funder' THEN balance_cents <= 0 ELSE balance_cents >= 0 END)
);
CREATE UNIQUE INDEX one_account_of_a_kind ON accounts (agreement_id, kind) WHERE kind IN ('funder', 'available', 'committed');
CREATE UNIQUE INDEX one_payable_a_producer ON accounts (agreement_id, producer_id) WHERE kind = 'payable';

CREATE TABLE transfers (
  id UUID PRIMARY KEY,
  debit_account UUID NOT NULL,
  credit_account UUID NOT NULL,
  agreement_id UUID NOT NULL,
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  code TEXT NOT NULL CHECK (code IN ('grant', 'commit', 'release', 'issue', 'redeem', 'void', 'return')),
  reference UUID NOT NULL, -- grant: agreement; commit, release, issue, return: allowance; redeem, void: redemption
  reverses UUID UNIQUE REFERENCES transfers (id), -- a transfer is undone at most once
  occurred_at TIMESTAMPTZ NOT NULL,
  recorded_at TIMESTAMPTZ NOT NULL, -- decides the month
  digest BYTEA NOT NULL CHECK (length(digest) = 32), -- SHA-256 of the other columns
  CHECK (debit_account <> credit_account),
  CHECK ((code = 'void') = (reverses IS NOT NULL)),
  -- both accounts belong to the transfer's agreement: no cent crosses from one funder to another
  FOREIGN KEY (debit_account, agreement_id) REFERENCES accounts (id, agreement_id),
  FOREIGN KEY (credit_account, agreement_id) REFERENCES accounts (id, agreement_id)
);
CREATE INDEX transfers_by_month ON transfers (agreement_id, recorded_at);
CREATE INDEX transfers_by_reference ON transfers (reference);

-- Producers -------------------------------------------------------------------------------------

CREATE TABLE producers (
  id UUID PRIMARY KEY REFERENCES organisations (id),
  siret TEXT NOT NULL UNIQUE CHECK (length(siret) = 14),
  iban TEXT NOT NULL,
  account_holder TEXT NOT NULL,
  updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE stalls (
  id UUID PRIMARY KEY,
  producer_id UUID NOT NULL REFERENCES organisations (id),
  name TEXT NOT NULL,
  commune_code TEXT NOT NULL,
  commune_name TEXT NOT NULL,
  open BOOLEAN NOT NULL,
  created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX stalls_by_producer ON stalls (producer_id, id);

CREATE TABLE applications (
  programme_id UUID NOT NULL REFERENCES programmes (id),
  producer_id UUID NOT NULL REFERENCES producers (id),
  state TEXT NOT NULL CHECK (state IN ('applied', 'approved', 'refused', 'suspended')),
  applied_at TIMESTAMPTZ NOT NULL,
  decided_at TIMESTAMPTZ,
  decided_by UUID REFERENCES people (id),
  PRIMARY KEY (programme_id, producer_id),
  CHECK ((state = 'applied') = (decided_at IS NULL))
);
CREATE INDEX applications_by_producer ON applications (producer_id);

-- Households and enrolments ---------------------------------------------------------------------

CREATE TABLE households (
  id UUID PRIMARY KEY,
  organisation_id UUID NOT NULL REFERENCES organisations (id),
  reference TEXT NOT NULL,
  adults INT4 NOT NULL CHECK (adults BETWEEN 1 AND 20),
  children INT4 NOT NULL CHECK (children BETWEEN 0 AND 20),
  commune_code TEXT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL,
  UNIQUE (organisation_id, reference)
);
CREATE INDEX households_by_organisation ON households (organisation_id, id);

-- Who they are, apart from what they get, so that it can be erased alone.
CREATE TABLE household_identities (
  household_id UUID PRIMARY KEY REFERENCES households (id),
  name TEXT,
  contact TEXT,
  updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE enrolments (
  id UUID PRIMARY KEY,
  household_id UUID NOT NULL REFERENCES households (id),
  programme_id UUID NOT NULL REFERENCES programmes (id),
  organisation_id UUID NOT NULL REFERENCES organisations (id),
  -- the composition and commune that the promise was made on
  adults INT4 NOT NULL,
  children INT4 NOT NULL,
  commune_code TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'active', 'suspended', 'left', 'ended')),
  starts_on DATE NOT NULL,
  promised_cents INT8 NOT NULL CHECK (promised_cents > 0),
  closes_at TIMESTAMPTZ, -- when the last allowance closes; none while waiting
  waiting_since TIMESTAMPTZ,
  activated_at TIMESTAMPTZ,
  left_at TIMESTAMPTZ,
  created_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX one_running_enrolment ON enrolments (household_id, programme_id) WHERE state IN ('waiting', 'active', 'suspended');
CREATE INDEX enrolments_by_organisation ON enrolments (organisation_id, id);
CREATE INDEX waiting_list ON enrolments (programme_id, waiting_since, id) WHERE state = 'waiting';
CREATE INDEX enrolments_by_programme ON enrolments (programme_id, state);

-- Allowances ------------------------------------------------------------------------------------

CREATE TABLE allowances (
  id UUID PRIMARY KEY,
  enrolment_id UUID NOT NULL REFERENCES enrolments (id),
  period INT4 NOT NULL CHECK (period >= 1),
  starts_on DATE NOT NULL,
  ends_on DATE NOT NULL CHECK (ends_on >= starts_on),
  opens_at TIMESTAMPTZ NOT NULL,
  closes_at TIMESTAMPTZ NOT NULL CHECK (closes_at > opens_at), -- the first instant that is too late
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  state TEXT NOT NULL CHECK (state IN ('committed', 'issued', 'released')),
  funding_set_id UUID REFERENCES funding_sets (id), -- none where the rule is priority
  issued_at TIMESTAMPTZ,
  UNIQUE (enrolment_id, period),
  CHECK ((state = 'issued') = (issued_at IS NOT NULL))
);
CREATE INDEX allowances_due ON allowances (opens_at) WHERE state = 'committed';

-- One part an agreement; once issued, the part's id is also the id of its account in the ledger.
CREATE TABLE allowance_parts (
  id UUID PRIMARY KEY,
  allowance_id UUID NOT NULL REFERENCES allowances (id),
  agreement_id UUID NOT NULL REFERENCES agreements (id),
  position INT4 NOT NULL,
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  spendable_until TIMESTAMPTZ NOT NULL, -- the earlier of the window's and the agreement's end; later only after a late void
  open BOOLEAN NOT NULL, -- issued, and its rest not yet returned
  UNIQUE (allowance_id, agreement_id)
);
CREATE INDEX parts_to_close ON allowance_parts (spendable_until) WHERE open;

-- Vouchers and redemptions ----------------------------------------------------------------------

CREATE TABLE vouchers (
  id UUID PRIMARY KEY,
  enrolment_id UUID NOT NULL REFERENCES enrolments (id),
  organisation_id UUID NOT NULL REFERENCES organisations (id),
  state TEXT NOT NULL CHECK (state IN ('active', 'blocked', 'replaced')),
  code_digest BYTEA NOT NULL UNIQUE, -- keyed: the typed code itself is nowhere in the database
  code_try INT4 NOT NULL,
  valid_from DATE NOT NULL,
  valid_to DATE NOT NULL,
  replaces UUID UNIQUE REFERENCES vouchers (id),
  created_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX one_standing_voucher ON vouchers (enrolment_id) WHERE state IN ('active', 'blocked');

CREATE TABLE redemptions (
  id UUID PRIMARY KEY,
  voucher_id UUID NOT NULL REFERENCES vouchers (id),
  enrolment_id UUID NOT NULL REFERENCES enrolments (id),
  producer_id UUID NOT NULL REFERENCES organisations (id),
  stall_id UUID NOT NULL REFERENCES stalls (id),
  person_id UUID NOT NULL REFERENCES people (id),
  siret TEXT NOT NULL CHECK (length(siret) = 14), -- the producer's on the day: a closed month keeps it
  basket_cents INT8 NOT NULL CHECK (basket_cents > 0),
  covered_cents INT8 NOT NULL CHECK (covered_cents > 0),
  void_until TIMESTAMPTZ NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  recorded_at TIMESTAMPTZ NOT NULL,
  CHECK (covered_cents <= basket_cents)
);
CREATE INDEX redemptions_by_producer ON redemptions (producer_id, id);
CREATE INDEX redemptions_by_voucher ON redemptions (voucher_id, recorded_at);

CREATE TABLE redemption_lines (
  redemption_id UUID NOT NULL REFERENCES redemptions (id),
  position INT4 NOT NULL,
  category TEXT NOT NULL,
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  PRIMARY KEY (redemption_id, position)
);

CREATE TABLE voids (
  redemption_id UUID PRIMARY KEY REFERENCES redemptions (id), -- undone at most once
  person_id UUID NOT NULL REFERENCES people (id),
  reason TEXT,
  recorded_at TIMESTAMPTZ NOT NULL
);

-- The journal only grows ------------------------------------------------------------------------

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% only grows: correct it with a further row', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER transfers_only_grow BEFORE UPDATE OR DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_stay BEFORE TRUNCATE ON transfers FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER redemptions_only_grow BEFORE UPDATE OR DELETE ON redemptions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER redemptions_stay BEFORE TRUNCATE ON redemptions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER redemption_lines_only_grow BEFORE UPDATE OR DELETE ON redemption_lines FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER redemption_lines_stay BEFORE TRUNCATE ON redemption_lines FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER voids_only_grow BEFORE UPDATE OR DELETE ON voids FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER voids_stay BEFORE TRUNCATE ON voids FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER agreements_only_grow BEFORE UPDATE OR DELETE ON agreements FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER agreements_stay BEFORE TRUNCATE ON agreements FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What was promised to whom stays; states and balances move on ------------------------------------

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% keeps what it was written with', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER enrolments_keep BEFORE UPDATE ON enrolments FOR EACH ROW
WHEN ((OLD.id, OLD.household_id, OLD.programme_id, OLD.organisation_id, OLD.adults, OLD.children, OLD.commune_code, OLD.promised_cents)
  IS DISTINCT FROM (NEW.id, NEW.household_id, NEW.programme_id, NEW.organisation_id, NEW.adults, NEW.children, NEW.commune_code, NEW.promised_cents))
EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER accounts_keep BEFORE UPDATE ON accounts FOR EACH ROW
WHEN ((OLD.id, OLD.agreement_id, OLD.kind, OLD.producer_id)
  IS DISTINCT FROM (NEW.id, NEW.agreement_id, NEW.kind, NEW.producer_id))
EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER allowances_keep BEFORE UPDATE ON allowances FOR EACH ROW
WHEN ((OLD.id, OLD.enrolment_id, OLD.period, OLD.starts_on, OLD.ends_on, OLD.opens_at, OLD.closes_at, OLD.amount_cents)
  IS DISTINCT FROM (NEW.id, NEW.enrolment_id, NEW.period, NEW.starts_on, NEW.ends_on, NEW.opens_at, NEW.closes_at, NEW.amount_cents))
EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER allowance_parts_keep BEFORE UPDATE ON allowance_parts FOR EACH ROW
WHEN ((OLD.id, OLD.allowance_id, OLD.agreement_id, OLD.position, OLD.amount_cents)
  IS DISTINCT FROM (NEW.id, NEW.allowance_id, NEW.agreement_id, NEW.position, NEW.amount_cents))
EXECUTE FUNCTION refuse_rewriting();
