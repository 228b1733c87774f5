-- Rules in versions, and the money and purchases that they can tell of.

-- Rules -----------------------------------------------------------------------------------------

-- A change makes a new version, for those who are enrolled from then on.
CREATE TABLE rule_versions (
  programme_id UUID NOT NULL REFERENCES programmes (id),
  version INT4 NOT NULL CHECK (version >= 1),
  rules TEXT NOT NULL, -- JSON
  created_at TIMESTAMPTZ NOT NULL,
  created_by UUID REFERENCES people (id),
  PRIMARY KEY (programme_id, version)
);
INSERT INTO rule_versions SELECT id, 1, rules, created_at, NULL FROM programmes;
ALTER TABLE programmes DROP COLUMN rules;
CREATE FUNCTION keep_rule_versions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND (OLD.programme_id, OLD.version) = (NEW.programme_id, NEW.version)
    AND (SELECT state FROM programmes WHERE id = OLD.programme_id) = 'draft' THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '% keeps what it was written with', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER rule_versions_keep BEFORE UPDATE OR DELETE ON rule_versions FOR EACH ROW EXECUTE FUNCTION keep_rule_versions();
CREATE TRIGGER rule_versions_stay BEFORE TRUNCATE ON rule_versions FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- What kind of seller a producer was approved as.
ALTER TABLE applications ADD COLUMN class TEXT NOT NULL DEFAULT 'farm';

-- Agreements ------------------------------------------------------------------------------------

ALTER TABLE agreements
  ADD COLUMN kind TEXT NOT NULL DEFAULT 'grant' CHECK (kind IN ('grant', 'pot')), -- a pot is filled by households, not granted
  DROP CONSTRAINT agreements_granted_cents_check,
  ADD CONSTRAINT agreements_granted_cents_check CHECK (CASE kind WHEN 'grant' THEN granted_cents > 0 ELSE granted_cents = 0 END);
ALTER TABLE agreements ALTER COLUMN kind DROP DEFAULT;
CREATE UNIQUE INDEX one_pot_a_programme ON agreements (programme_id) WHERE kind = 'pot';

-- The ledger ------------------------------------------------------------------------------------

ALTER TABLE accounts
  DROP CONSTRAINT accounts_kind_check,
  DROP CONSTRAINT accounts_check,
  DROP CONSTRAINT no_account_is_overdrawn,
  ADD CONSTRAINT accounts_kind_check CHECK (kind IN ('funder', 'available', 'committed', 'allowance', 'reserved', 'payable', 'held', 'surplus')),
  ADD CONSTRAINT accounts_check CHECK ((kind IN ('payable', 'held')) = (producer_id IS NOT NULL)),
  ADD CONSTRAINT no_account_is_overdrawn CHECK (CASE WHEN kind IN ('funder', 'held') THEN balance_cents <= 0 ELSE balance_cents >= 0 END);
DROP INDEX one_account_of_a_kind;
CREATE UNIQUE INDEX one_account_of_a_kind ON accounts (agreement_id, kind) WHERE kind IN ('funder', 'available', 'committed', 'surplus');
CREATE UNIQUE INDEX one_held_a_producer ON accounts (agreement_id, producer_id) WHERE kind = 'held';

-- The reference of hold and free is a hold, of contribute and refund a contribution, of collect and pool a redemption.
ALTER TABLE transfers
  DROP CONSTRAINT transfers_code_check,
  ADD CONSTRAINT transfers_code_check CHECK (code IN (
    'grant', 'commit', 'release', 'issue', 'redeem', 'void', 'return', 'hold', 'free', 'contribute', 'refund', 'collect', 'pool'));

-- Enrolments and allowances ---------------------------------------------------------------------

ALTER TABLE enrolments
  ADD COLUMN rules_version INT4 NOT NULL DEFAULT 1, -- the deal: it stays whatever versions come
  ADD COLUMN band TEXT, -- the tariff, by its code in the rules
  ADD FOREIGN KEY (programme_id, rules_version) REFERENCES rule_versions (programme_id, version);
ALTER TABLE enrolments ALTER COLUMN rules_version DROP DEFAULT;
DROP TRIGGER enrolments_keep ON enrolments;
CREATE TRIGGER enrolments_keep BEFORE UPDATE ON enrolments FOR EACH ROW
WHEN ((OLD.id, OLD.household_id, OLD.programme_id, OLD.organisation_id, OLD.adults, OLD.children, OLD.commune_code, OLD.promised_cents, OLD.rules_version)
  IS DISTINCT FROM (NEW.id, NEW.household_id, NEW.programme_id, NEW.organisation_id, NEW.adults, NEW.children, NEW.commune_code, NEW.promised_cents, NEW.rules_version))
EXECUTE FUNCTION refuse_rewriting();

ALTER TABLE allowances
  ADD COLUMN purse TEXT NOT NULL DEFAULT 'main', -- 'main', 'bonus', 'own' (a contribution of one's own), or the code of a sub-purse
  DROP CONSTRAINT allowances_enrolment_id_period_key;
ALTER TABLE allowances ALTER COLUMN purse DROP DEFAULT;
ALTER TABLE allowances ADD COLUMN waits BOOL NOT NULL DEFAULT FALSE; -- not issued before the household's contribution is paid
ALTER TABLE allowances ALTER COLUMN waits DROP DEFAULT;
CREATE UNIQUE INDEX one_allowance_a_period ON allowances (enrolment_id, period, purse) WHERE purse <> 'own';
CREATE INDEX allowances_by_enrolment ON allowances (enrolment_id, period);
DROP TRIGGER allowances_keep ON allowances;
CREATE TRIGGER allowances_keep BEFORE UPDATE ON allowances FOR EACH ROW
WHEN ((OLD.id, OLD.enrolment_id, OLD.period, OLD.starts_on, OLD.ends_on, OLD.opens_at, OLD.closes_at, OLD.amount_cents, OLD.purse)
  IS DISTINCT FROM (NEW.id, NEW.enrolment_id, NEW.period, NEW.starts_on, NEW.ends_on, NEW.opens_at, NEW.closes_at, NEW.amount_cents, NEW.purse))
EXECUTE FUNCTION refuse_rewriting();

-- A bonus is issued as it is earned: so much of a part has been, and so much was released. All at once for the others.
ALTER TABLE allowance_parts
  ADD COLUMN issued_cents INT8 NOT NULL DEFAULT 0 CHECK (issued_cents BETWEEN 0 AND amount_cents),
  ADD COLUMN released_cents INT8 NOT NULL DEFAULT 0 CHECK (released_cents >= 0 AND issued_cents + released_cents <= amount_cents);
UPDATE allowance_parts SET issued_cents = amount_cents WHERE allowance_id IN (SELECT id FROM allowances WHERE state = 'issued');
UPDATE allowance_parts SET released_cents = amount_cents WHERE allowance_id IN (SELECT id FROM allowances WHERE state = 'released');
-- A server of before would open a part and not say how much of it is issued: the money would be released once more.
CREATE FUNCTION open_as_issued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT purse FROM allowances WHERE id = NEW.allowance_id) = 'bonus' THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '% is opened as it is issued', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER allowance_parts_open_as_issued BEFORE UPDATE OF open ON allowance_parts FOR EACH ROW
WHEN (NEW.open AND NOT OLD.open AND NEW.issued_cents = 0) EXECUTE FUNCTION open_as_issued();

-- What a household has paid in.
CREATE TABLE contributions (
  id UUID PRIMARY KEY,
  enrolment_id UUID NOT NULL REFERENCES enrolments (id),
  period INT4 NOT NULL CHECK (period >= 1),
  agreement_id UUID NOT NULL REFERENCES agreements (id), -- the pot
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  allowance_id UUID UNIQUE REFERENCES allowances (id), -- where it stays the household's own
  person_id UUID NOT NULL REFERENCES people (id),
  recorded_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX contributions_by_enrolment ON contributions (enrolment_id, period);
CREATE TRIGGER contributions_only_grow BEFORE UPDATE OR DELETE ON contributions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER contributions_stay BEFORE TRUNCATE ON contributions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Vouchers, holds and redemptions ---------------------------------------------------------------

ALTER TABLE vouchers ADD COLUMN denomination_cents INT8 CHECK (denomination_cents > 0); -- none: the running card
DROP INDEX one_standing_voucher;
CREATE UNIQUE INDEX one_standing_voucher ON vouchers (enrolment_id) WHERE state IN ('active', 'blocked') AND denomination_cents IS NULL;

-- Money set aside for one purchase: a basket that waits to be fetched, or a voucher of a fixed value. A voucher in the
-- place of another takes over what is held.
CREATE TABLE holds (
  id UUID PRIMARY KEY,
  voucher_id UUID NOT NULL REFERENCES vouchers (id),
  enrolment_id UUID NOT NULL REFERENCES enrolments (id),
  stall_id UUID REFERENCES stalls (id), -- none: a denomination, good at any
  person_id UUID NOT NULL REFERENCES people (id),
  basket_cents INT8 CHECK (basket_cents >= covered_cents), -- none: a denomination
  covered_cents INT8 NOT NULL CHECK (covered_cents >= 0),
  surplus_cents INT8 NOT NULL CHECK (surplus_cents >= 0), -- to be paid above the price, for the pot
  band TEXT, -- the tariff that it was decided by; none: that of the rules
  state TEXT NOT NULL CHECK (state IN ('held', 'captured', 'released')),
  expires_at TIMESTAMPTZ NOT NULL, -- the first instant that is too late
  created_at TIMESTAMPTZ NOT NULL CHECK (created_at < expires_at),
  settled_at TIMESTAMPTZ,
  CHECK ((stall_id IS NULL) = (basket_cents IS NULL)),
  CHECK (stall_id IS NOT NULL OR covered_cents > 0),
  CHECK ((state = 'held') = (settled_at IS NULL))
);
CREATE INDEX holds_by_enrolment ON holds (enrolment_id, id);
CREATE INDEX holds_by_stall ON holds (stall_id, id);
CREATE INDEX holds_by_voucher ON holds (voucher_id);
CREATE INDEX holds_to_release ON holds (expires_at) WHERE state = 'held';
CREATE TRIGGER holds_keep BEFORE UPDATE ON holds FOR EACH ROW
WHEN (OLD.state <> 'held' OR (OLD.id, OLD.enrolment_id, OLD.stall_id, OLD.person_id, OLD.basket_cents, OLD.covered_cents, OLD.surplus_cents, OLD.band, OLD.expires_at, OLD.created_at)
  IS DISTINCT FROM (NEW.id, NEW.enrolment_id, NEW.stall_id, NEW.person_id, NEW.basket_cents, NEW.covered_cents, NEW.surplus_cents, NEW.band, NEW.expires_at, NEW.created_at))
EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER holds_no_delete BEFORE DELETE ON holds FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER holds_stay BEFORE TRUNCATE ON holds FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- So much of one part; its id is also the id of its account in the ledger.
CREATE TABLE hold_parts (
  id UUID PRIMARY KEY,
  hold_id UUID NOT NULL REFERENCES holds (id),
  part_id UUID NOT NULL REFERENCES allowance_parts (id),
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  UNIQUE (hold_id, part_id)
);
CREATE TRIGGER hold_parts_only_grow BEFORE UPDATE OR DELETE ON hold_parts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER hold_parts_stay BEFORE TRUNCATE ON hold_parts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE hold_lines (
  hold_id UUID NOT NULL REFERENCES holds (id),
  position INT4 NOT NULL,
  category TEXT NOT NULL,
  labels TEXT NOT NULL,
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  PRIMARY KEY (hold_id, position)
);
CREATE TRIGGER hold_lines_only_grow BEFORE UPDATE OR DELETE ON hold_lines FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER hold_lines_stay BEFORE TRUNCATE ON hold_lines FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE redemptions
  ADD COLUMN surplus_cents INT8 NOT NULL DEFAULT 0 CHECK (surplus_cents >= 0), -- paid above the price, for the pot
  ADD COLUMN hold_id UUID UNIQUE REFERENCES holds (id), -- what it captured
  DROP CONSTRAINT redemptions_covered_cents_check,
  ADD CONSTRAINT redemptions_covered_cents_check CHECK (covered_cents >= 0),
  ADD CHECK (covered_cents = 0 OR surplus_cents = 0);
ALTER TABLE redemptions ALTER COLUMN surplus_cents DROP DEFAULT;
CREATE INDEX redemptions_by_enrolment ON redemptions (enrolment_id, recorded_at);

ALTER TABLE redemption_lines ADD COLUMN labels TEXT NOT NULL DEFAULT ''; -- in order, by spaces

-- What a purchase has earned: a bonus for the household, granted once the purchase can no longer be undone.
CREATE TABLE bonuses (
  redemption_id UUID PRIMARY KEY REFERENCES redemptions (id),
  allowance_id UUID NOT NULL REFERENCES allowances (id), -- the period's bonus, that it is taken from
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  matures_at TIMESTAMPTZ NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('earned', 'granted', 'lost')),
  settled_at TIMESTAMPTZ,
  CHECK ((state = 'earned') = (settled_at IS NULL))
);
CREATE INDEX bonuses_by_allowance ON bonuses (allowance_id);
CREATE INDEX bonuses_to_grant ON bonuses (matures_at) WHERE state = 'earned';
CREATE TRIGGER bonuses_keep BEFORE UPDATE ON bonuses FOR EACH ROW
WHEN (OLD.state <> 'earned' OR (OLD.redemption_id, OLD.allowance_id, OLD.amount_cents, OLD.matures_at)
  IS DISTINCT FROM (NEW.redemption_id, NEW.allowance_id, NEW.amount_cents, NEW.matures_at))
EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER bonuses_no_delete BEFORE DELETE ON bonuses FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER bonuses_stay BEFORE TRUNCATE ON bonuses FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- What a producer holds for the pot, paid above the price: in the pot once the purchase can no longer be undone.
CREATE TABLE surpluses (
  redemption_id UUID PRIMARY KEY REFERENCES redemptions (id),
  agreement_id UUID NOT NULL REFERENCES agreements (id), -- the pot
  amount_cents INT8 NOT NULL CHECK (amount_cents > 0),
  matures_at TIMESTAMPTZ NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('collected', 'pooled', 'given_back')),
  settled_at TIMESTAMPTZ,
  CHECK ((state = 'collected') = (settled_at IS NULL))
);
CREATE INDEX surpluses_to_pool ON surpluses (matures_at) WHERE state = 'collected';
CREATE TRIGGER surpluses_keep BEFORE UPDATE ON surpluses FOR EACH ROW
WHEN (OLD.state <> 'collected' OR (OLD.redemption_id, OLD.agreement_id, OLD.amount_cents, OLD.matures_at)
  IS DISTINCT FROM (NEW.redemption_id, NEW.agreement_id, NEW.amount_cents, NEW.matures_at))
EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER surpluses_no_delete BEFORE DELETE ON surpluses FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER surpluses_stay BEFORE TRUNCATE ON surpluses FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
