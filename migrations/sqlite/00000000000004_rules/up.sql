-- Rules in versions, and the money and purchases that they can tell of. Foreign keys are off meanwhile and checked at the
-- end (src/db/migrate.rs): SQLite changes a table's constraints by writing it anew.

-- Rules -----------------------------------------------------------------------------------------

-- A change makes a new version, for those who are enrolled from then on.
CREATE TABLE rule_versions (
  programme_id BLOB NOT NULL REFERENCES programmes (id),
  version INTEGER NOT NULL CHECK (version >= 1),
  rules TEXT NOT NULL, -- JSON
  created_at INTEGER NOT NULL,
  created_by BLOB REFERENCES people (id),
  PRIMARY KEY (programme_id, version)
) STRICT;
INSERT INTO rule_versions SELECT id, 1, rules, created_at, NULL FROM programmes;
ALTER TABLE programmes DROP COLUMN rules;
CREATE TRIGGER rule_versions_keep BEFORE UPDATE ON rule_versions
WHEN (SELECT state FROM programmes WHERE id = OLD.programme_id) <> 'draft' OR (OLD.programme_id, OLD.version) IS NOT (NEW.programme_id, NEW.version)
BEGIN
  SELECT RAISE(ABORT, 'rule_versions keeps what it was written with');
END;
CREATE TRIGGER rule_versions_no_delete BEFORE DELETE ON rule_versions
BEGIN
  SELECT RAISE(ABORT, 'rule_versions keeps what it was written with');
END;
CREATE TRIGGER rule_versions_no_replace BEFORE INSERT ON rule_versions
WHEN EXISTS (SELECT 1 FROM rule_versions WHERE programme_id = NEW.programme_id AND version = NEW.version)
BEGIN
  SELECT RAISE(ABORT, 'rule_versions keeps what it was written with');
END;

-- What kind of seller a producer was approved as.
ALTER TABLE applications ADD COLUMN class TEXT NOT NULL DEFAULT 'farm';

-- Agreements ------------------------------------------------------------------------------------

CREATE TABLE agreements_anew (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  programme_id BLOB NOT NULL REFERENCES programmes (id),
  funder_id BLOB NOT NULL REFERENCES organisations (id),
  reference TEXT NOT NULL CHECK (length(reference) BETWEEN 1 AND 100),
  position INTEGER NOT NULL CHECK (position >= 1), -- order of priority, and of ties
  share_weight INTEGER NOT NULL CHECK (share_weight BETWEEN 1 AND 10000),
  granted_cents INTEGER NOT NULL,
  starts_on TEXT NOT NULL,
  ends_on TEXT NOT NULL CHECK (ends_on >= starts_on),
  grace_days INTEGER NOT NULL CHECK (grace_days BETWEEN 0 AND 366),
  signed_at INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('grant', 'pot')), -- a pot is filled by households, not granted
  UNIQUE (programme_id, position),
  UNIQUE (programme_id, reference),
  CHECK (CASE kind WHEN 'grant' THEN granted_cents > 0 ELSE granted_cents = 0 END)
) STRICT;
INSERT INTO agreements_anew SELECT *, 'grant' FROM agreements;
DROP TABLE agreements;
ALTER TABLE agreements_anew RENAME TO agreements;
CREATE INDEX agreements_by_funder ON agreements (funder_id);
CREATE UNIQUE INDEX one_pot_a_programme ON agreements (programme_id) WHERE kind = 'pot';
CREATE TRIGGER agreements_no_update BEFORE UPDATE ON agreements
BEGIN
  SELECT RAISE(ABORT, 'agreements only grows: correct it with a further row');
END;
CREATE TRIGGER agreements_no_delete BEFORE DELETE ON agreements
BEGIN
  SELECT RAISE(ABORT, 'agreements only grows: correct it with a further row');
END;
CREATE TRIGGER agreements_no_replace BEFORE INSERT ON agreements
WHEN EXISTS (SELECT 1 FROM agreements WHERE id = NEW.id OR (programme_id = NEW.programme_id AND (position = NEW.position OR reference = NEW.reference)))
BEGIN
  SELECT RAISE(ABORT, 'agreements only grows: correct it with a further row');
END;

-- The ledger ------------------------------------------------------------------------------------

CREATE TABLE accounts_anew (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  agreement_id BLOB NOT NULL REFERENCES agreements (id),
  kind TEXT NOT NULL CHECK (kind IN ('funder', 'available', 'committed', 'allowance', 'reserved', 'payable', 'held', 'surplus')),
  producer_id BLOB REFERENCES organisations (id),
  balance_cents INTEGER NOT NULL DEFAULT 0,
  UNIQUE (id, agreement_id),
  CHECK ((kind IN ('payable', 'held')) = (producer_id IS NOT NULL)),
  CONSTRAINT no_account_is_overdrawn CHECK (CASE WHEN kind IN ('funder', 'held') THEN balance_cents <= 0 ELSE balance_cents >= 0 END)
) STRICT;
INSERT INTO accounts_anew SELECT * FROM accounts;
DROP TABLE accounts;
ALTER TABLE accounts_anew RENAME TO accounts;
CREATE UNIQUE INDEX one_account_of_a_kind ON accounts (agreement_id, kind) WHERE kind IN ('funder', 'available', 'committed', 'surplus');
CREATE UNIQUE INDEX one_payable_a_producer ON accounts (agreement_id, producer_id) WHERE kind = 'payable';
CREATE UNIQUE INDEX one_held_a_producer ON accounts (agreement_id, producer_id) WHERE kind = 'held';
CREATE TRIGGER accounts_keep BEFORE UPDATE ON accounts
WHEN (OLD.id, OLD.agreement_id, OLD.kind, OLD.producer_id) IS NOT (NEW.id, NEW.agreement_id, NEW.kind, NEW.producer_id)
BEGIN
  SELECT RAISE(ABORT, 'accounts keeps what it was written with');
END;

CREATE TABLE transfers_anew (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  debit_account BLOB NOT NULL,
  credit_account BLOB NOT NULL,
  agreement_id BLOB NOT NULL,
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  code TEXT NOT NULL CHECK (code IN (
    'grant', 'commit', 'release', 'issue', 'redeem', 'void', 'return', 'hold', 'free', 'contribute', 'refund', 'collect', 'pool')),
  -- grant: agreement; commit, release, issue, return: allowance; redeem, void, collect, pool: redemption; hold, free:
  -- hold; contribute, refund: contribution
  reference BLOB NOT NULL,
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
INSERT INTO transfers_anew SELECT * FROM transfers;
DROP TABLE transfers;
ALTER TABLE transfers_anew RENAME TO transfers;
CREATE INDEX transfers_by_month ON transfers (agreement_id, recorded_at);
CREATE INDEX transfers_by_reference ON transfers (reference);
CREATE TRIGGER transfers_no_update BEFORE UPDATE ON transfers
BEGIN
  SELECT RAISE(ABORT, 'transfers only grows: correct it with a further row');
END;
CREATE TRIGGER transfers_no_delete BEFORE DELETE ON transfers
BEGIN
  SELECT RAISE(ABORT, 'transfers only grows: correct it with a further row');
END;
CREATE TRIGGER transfers_no_replace BEFORE INSERT ON transfers
WHEN EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id OR reverses = NEW.reverses)
BEGIN
  SELECT RAISE(ABORT, 'transfers only grows: correct it with a further row');
END;

-- Enrolments and allowances ---------------------------------------------------------------------

CREATE TABLE enrolments_anew (
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
  created_at INTEGER NOT NULL,
  rules_version INTEGER NOT NULL, -- the deal: it stays whatever versions come
  band TEXT, -- the tariff, by its code in the rules
  FOREIGN KEY (programme_id, rules_version) REFERENCES rule_versions (programme_id, version)
) STRICT;
INSERT INTO enrolments_anew SELECT *, 1, NULL FROM enrolments;
DROP TABLE enrolments;
ALTER TABLE enrolments_anew RENAME TO enrolments;
CREATE UNIQUE INDEX one_running_enrolment ON enrolments (household_id, programme_id) WHERE state IN ('waiting', 'active', 'suspended');
CREATE INDEX enrolments_by_organisation ON enrolments (organisation_id, id);
CREATE INDEX waiting_list ON enrolments (programme_id, waiting_since, id) WHERE state = 'waiting';
CREATE INDEX enrolments_by_programme ON enrolments (programme_id, state);
CREATE INDEX enrolments_by_household ON enrolments (household_id);
CREATE TRIGGER enrolments_keep BEFORE UPDATE ON enrolments
WHEN (OLD.id, OLD.household_id, OLD.programme_id, OLD.organisation_id, OLD.adults, OLD.children, OLD.commune_code, OLD.promised_cents, OLD.rules_version)
  IS NOT (NEW.id, NEW.household_id, NEW.programme_id, NEW.organisation_id, NEW.adults, NEW.children, NEW.commune_code, NEW.promised_cents, NEW.rules_version)
BEGIN
  SELECT RAISE(ABORT, 'enrolments keeps what it was written with');
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

CREATE TABLE allowances_anew (
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
  purse TEXT NOT NULL, -- 'main', 'bonus', 'own' (a contribution of one's own), or the code of a sub-purse
  waits INTEGER NOT NULL CHECK (waits IN (0, 1)), -- not issued before the household's contribution is paid
  CHECK ((state = 'issued') = (issued_at IS NOT NULL))
) STRICT;
INSERT INTO allowances_anew SELECT *, 'main', 0 FROM allowances;
DROP TABLE allowances;
ALTER TABLE allowances_anew RENAME TO allowances;
CREATE UNIQUE INDEX one_allowance_a_period ON allowances (enrolment_id, period, purse) WHERE purse <> 'own';
CREATE INDEX allowances_by_enrolment ON allowances (enrolment_id, period);
CREATE INDEX allowances_due ON allowances (opens_at) WHERE state = 'committed';
CREATE TRIGGER allowances_keep BEFORE UPDATE ON allowances
WHEN (OLD.id, OLD.enrolment_id, OLD.period, OLD.starts_on, OLD.ends_on, OLD.opens_at, OLD.closes_at, OLD.amount_cents, OLD.purse)
  IS NOT (NEW.id, NEW.enrolment_id, NEW.period, NEW.starts_on, NEW.ends_on, NEW.opens_at, NEW.closes_at, NEW.amount_cents, NEW.purse)
BEGIN
  SELECT RAISE(ABORT, 'allowances keeps what it was written with');
END;

-- A bonus is issued as it is earned: so much of a part has been, and so much was released. All at once for the others.
ALTER TABLE allowance_parts ADD COLUMN issued_cents INTEGER NOT NULL DEFAULT 0 CHECK (issued_cents BETWEEN 0 AND amount_cents);
ALTER TABLE allowance_parts ADD COLUMN released_cents INTEGER NOT NULL DEFAULT 0 CHECK (released_cents >= 0 AND issued_cents + released_cents <= amount_cents);
UPDATE allowance_parts SET issued_cents = amount_cents WHERE allowance_id IN (SELECT id FROM allowances WHERE state = 'issued');
UPDATE allowance_parts SET released_cents = amount_cents WHERE allowance_id IN (SELECT id FROM allowances WHERE state = 'released');
-- A server of before would open a part and not say how much of it is issued: the money would be released once more.
CREATE TRIGGER allowance_parts_open_as_issued BEFORE UPDATE OF open ON allowance_parts
WHEN NEW.open AND NOT OLD.open AND NEW.issued_cents = 0 AND (SELECT purse FROM allowances WHERE id = NEW.allowance_id) <> 'bonus'
BEGIN
  SELECT RAISE(ABORT, 'allowance_parts is opened as it is issued');
END;

-- What a household has paid in.
CREATE TABLE contributions (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  enrolment_id BLOB NOT NULL REFERENCES enrolments (id),
  period INTEGER NOT NULL CHECK (period >= 1),
  agreement_id BLOB NOT NULL REFERENCES agreements (id), -- the pot
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  allowance_id BLOB UNIQUE REFERENCES allowances (id), -- where it stays the household's own
  person_id BLOB NOT NULL REFERENCES people (id),
  recorded_at INTEGER NOT NULL
) STRICT;
CREATE INDEX contributions_by_enrolment ON contributions (enrolment_id, period);
CREATE TRIGGER contributions_no_update BEFORE UPDATE ON contributions
BEGIN
  SELECT RAISE(ABORT, 'contributions only grows: correct it with a further row');
END;
CREATE TRIGGER contributions_no_delete BEFORE DELETE ON contributions
BEGIN
  SELECT RAISE(ABORT, 'contributions only grows: correct it with a further row');
END;
CREATE TRIGGER contributions_no_replace BEFORE INSERT ON contributions
WHEN EXISTS (SELECT 1 FROM contributions WHERE id = NEW.id OR allowance_id = NEW.allowance_id)
BEGIN
  SELECT RAISE(ABORT, 'contributions only grows: correct it with a further row');
END;

-- Vouchers, holds and redemptions ---------------------------------------------------------------

ALTER TABLE vouchers ADD COLUMN denomination_cents INTEGER CHECK (denomination_cents > 0); -- none: the running card
DROP INDEX one_standing_voucher;
CREATE UNIQUE INDEX one_standing_voucher ON vouchers (enrolment_id) WHERE state IN ('active', 'blocked') AND denomination_cents IS NULL;

-- Money set aside for one purchase: a basket that waits to be fetched, or a voucher of a fixed value. A voucher in the
-- place of another takes over what is held.
CREATE TABLE holds (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  voucher_id BLOB NOT NULL REFERENCES vouchers (id),
  enrolment_id BLOB NOT NULL REFERENCES enrolments (id),
  stall_id BLOB REFERENCES stalls (id), -- none: a denomination, good at any
  person_id BLOB NOT NULL REFERENCES people (id),
  basket_cents INTEGER CHECK (basket_cents >= covered_cents), -- none: a denomination
  covered_cents INTEGER NOT NULL CHECK (covered_cents >= 0),
  surplus_cents INTEGER NOT NULL CHECK (surplus_cents >= 0), -- to be paid above the price, for the pot
  band TEXT, -- the tariff that it was decided by; none: that of the rules
  state TEXT NOT NULL CHECK (state IN ('held', 'captured', 'released')),
  expires_at INTEGER NOT NULL, -- the first instant that is too late
  created_at INTEGER NOT NULL CHECK (created_at < expires_at),
  settled_at INTEGER,
  CHECK ((stall_id IS NULL) = (basket_cents IS NULL)),
  CHECK (stall_id IS NOT NULL OR covered_cents > 0),
  CHECK ((state = 'held') = (settled_at IS NULL))
) STRICT;
CREATE INDEX holds_by_enrolment ON holds (enrolment_id, id);
CREATE INDEX holds_by_stall ON holds (stall_id, id);
CREATE INDEX holds_by_voucher ON holds (voucher_id);
CREATE INDEX holds_to_release ON holds (expires_at) WHERE state = 'held';
CREATE TRIGGER holds_keep BEFORE UPDATE ON holds
WHEN OLD.state <> 'held' OR (OLD.id, OLD.enrolment_id, OLD.stall_id, OLD.person_id, OLD.basket_cents, OLD.covered_cents, OLD.surplus_cents, OLD.band, OLD.expires_at, OLD.created_at)
  IS NOT (NEW.id, NEW.enrolment_id, NEW.stall_id, NEW.person_id, NEW.basket_cents, NEW.covered_cents, NEW.surplus_cents, NEW.band, NEW.expires_at, NEW.created_at)
BEGIN
  SELECT RAISE(ABORT, 'holds keeps what it was written with');
END;
CREATE TRIGGER holds_no_delete BEFORE DELETE ON holds
BEGIN
  SELECT RAISE(ABORT, 'holds keeps what it was written with');
END;
CREATE TRIGGER holds_no_replace BEFORE INSERT ON holds
WHEN EXISTS (SELECT 1 FROM holds WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT, 'holds keeps what it was written with');
END;

-- So much of one part; its id is also the id of its account in the ledger.
CREATE TABLE hold_parts (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  hold_id BLOB NOT NULL REFERENCES holds (id),
  part_id BLOB NOT NULL REFERENCES allowance_parts (id),
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  UNIQUE (hold_id, part_id)
) STRICT;
CREATE TRIGGER hold_parts_no_update BEFORE UPDATE ON hold_parts
BEGIN
  SELECT RAISE(ABORT, 'hold_parts only grows: correct it with a further row');
END;
CREATE TRIGGER hold_parts_no_delete BEFORE DELETE ON hold_parts
BEGIN
  SELECT RAISE(ABORT, 'hold_parts only grows: correct it with a further row');
END;
CREATE TRIGGER hold_parts_no_replace BEFORE INSERT ON hold_parts
WHEN EXISTS (SELECT 1 FROM hold_parts WHERE id = NEW.id OR (hold_id = NEW.hold_id AND part_id = NEW.part_id))
BEGIN
  SELECT RAISE(ABORT, 'hold_parts only grows: correct it with a further row');
END;

CREATE TABLE hold_lines (
  hold_id BLOB NOT NULL REFERENCES holds (id),
  position INTEGER NOT NULL,
  category TEXT NOT NULL,
  labels TEXT NOT NULL,
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  PRIMARY KEY (hold_id, position)
) STRICT;
CREATE TRIGGER hold_lines_no_update BEFORE UPDATE ON hold_lines
BEGIN
  SELECT RAISE(ABORT, 'hold_lines only grows: correct it with a further row');
END;
CREATE TRIGGER hold_lines_no_delete BEFORE DELETE ON hold_lines
BEGIN
  SELECT RAISE(ABORT, 'hold_lines only grows: correct it with a further row');
END;
CREATE TRIGGER hold_lines_no_replace BEFORE INSERT ON hold_lines
WHEN EXISTS (SELECT 1 FROM hold_lines WHERE hold_id = NEW.hold_id AND position = NEW.position)
BEGIN
  SELECT RAISE(ABORT, 'hold_lines only grows: correct it with a further row');
END;

CREATE TABLE redemptions_anew (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  voucher_id BLOB NOT NULL REFERENCES vouchers (id),
  enrolment_id BLOB NOT NULL REFERENCES enrolments (id),
  producer_id BLOB NOT NULL REFERENCES organisations (id),
  stall_id BLOB NOT NULL REFERENCES stalls (id),
  person_id BLOB NOT NULL REFERENCES people (id),
  siret TEXT NOT NULL CHECK (length(siret) = 14), -- the producer's on the day: a closed month keeps it
  basket_cents INTEGER NOT NULL CHECK (basket_cents > 0),
  covered_cents INTEGER NOT NULL CHECK (covered_cents >= 0),
  void_until INTEGER NOT NULL,
  occurred_at INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  surplus_cents INTEGER NOT NULL CHECK (surplus_cents >= 0), -- paid above the price, for the pot
  hold_id BLOB UNIQUE REFERENCES holds (id), -- what it captured
  CHECK (covered_cents <= basket_cents),
  CHECK (covered_cents = 0 OR surplus_cents = 0)
) STRICT;
INSERT INTO redemptions_anew SELECT *, 0, NULL FROM redemptions;
DROP TABLE redemptions;
ALTER TABLE redemptions_anew RENAME TO redemptions;
CREATE INDEX redemptions_by_producer ON redemptions (producer_id, id);
CREATE INDEX redemptions_by_voucher ON redemptions (voucher_id, recorded_at);
CREATE INDEX redemptions_by_enrolment ON redemptions (enrolment_id, recorded_at);
CREATE TRIGGER redemptions_no_update BEFORE UPDATE ON redemptions
BEGIN
  SELECT RAISE(ABORT, 'redemptions only grows: correct it with a further row');
END;
CREATE TRIGGER redemptions_no_delete BEFORE DELETE ON redemptions
BEGIN
  SELECT RAISE(ABORT, 'redemptions only grows: correct it with a further row');
END;
CREATE TRIGGER redemptions_no_replace BEFORE INSERT ON redemptions
WHEN EXISTS (SELECT 1 FROM redemptions WHERE id = NEW.id OR hold_id = NEW.hold_id)
BEGIN
  SELECT RAISE(ABORT, 'redemptions only grows: correct it with a further row');
END;

ALTER TABLE redemption_lines ADD COLUMN labels TEXT NOT NULL DEFAULT ''; -- in order, by spaces

-- What a purchase has earned: a bonus for the household, granted once the purchase can no longer be undone.
CREATE TABLE bonuses (
  redemption_id BLOB PRIMARY KEY REFERENCES redemptions (id),
  allowance_id BLOB NOT NULL REFERENCES allowances (id), -- the period's bonus, that it is taken from
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  matures_at INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('earned', 'granted', 'lost')),
  settled_at INTEGER,
  CHECK ((state = 'earned') = (settled_at IS NULL))
) STRICT;
CREATE INDEX bonuses_by_allowance ON bonuses (allowance_id);
CREATE INDEX bonuses_to_grant ON bonuses (matures_at) WHERE state = 'earned';
CREATE TRIGGER bonuses_keep BEFORE UPDATE ON bonuses
WHEN OLD.state <> 'earned' OR (OLD.redemption_id, OLD.allowance_id, OLD.amount_cents, OLD.matures_at)
  IS NOT (NEW.redemption_id, NEW.allowance_id, NEW.amount_cents, NEW.matures_at)
BEGIN
  SELECT RAISE(ABORT, 'bonuses keeps what it was written with');
END;
CREATE TRIGGER bonuses_no_delete BEFORE DELETE ON bonuses
BEGIN
  SELECT RAISE(ABORT, 'bonuses keeps what it was written with');
END;
CREATE TRIGGER bonuses_no_replace BEFORE INSERT ON bonuses
WHEN EXISTS (SELECT 1 FROM bonuses WHERE redemption_id = NEW.redemption_id)
BEGIN
  SELECT RAISE(ABORT, 'bonuses keeps what it was written with');
END;

-- What a producer holds for the pot, paid above the price: in the pot once the purchase can no longer be undone.
CREATE TABLE surpluses (
  redemption_id BLOB PRIMARY KEY REFERENCES redemptions (id),
  agreement_id BLOB NOT NULL REFERENCES agreements (id), -- the pot
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  matures_at INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('collected', 'pooled', 'given_back')),
  settled_at INTEGER,
  CHECK ((state = 'collected') = (settled_at IS NULL))
) STRICT;
CREATE INDEX surpluses_to_pool ON surpluses (matures_at) WHERE state = 'collected';
CREATE TRIGGER surpluses_keep BEFORE UPDATE ON surpluses
WHEN OLD.state <> 'collected' OR (OLD.redemption_id, OLD.agreement_id, OLD.amount_cents, OLD.matures_at)
  IS NOT (NEW.redemption_id, NEW.agreement_id, NEW.amount_cents, NEW.matures_at)
BEGIN
  SELECT RAISE(ABORT, 'surpluses keeps what it was written with');
END;
CREATE TRIGGER surpluses_no_delete BEFORE DELETE ON surpluses
BEGIN
  SELECT RAISE(ABORT, 'surpluses keeps what it was written with');
END;
CREATE TRIGGER surpluses_no_replace BEFORE INSERT ON surpluses
WHEN EXISTS (SELECT 1 FROM surpluses WHERE redemption_id = NEW.redemption_id)
BEGIN
  SELECT RAISE(ABORT, 'surpluses keeps what it was written with');
END;
