-- A market morning writes thousands of purchases a second, many in one statement. What they refer to is looked up once a
-- statement and not row by row; what the journal refers to is never deleted and keeps its id, as the journal itself does.

-- After every writer that has begun, as they take these tables in another order.
SELECT pg_advisory_xact_lock(8102654598167491073);

-- What the journal refers to stays ---------------------------------------------------------------

CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% stay: the journal refers to them', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER organisations_no_delete BEFORE DELETE ON organisations FOR EACH ROW EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER organisations_stay BEFORE TRUNCATE ON organisations FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER people_no_delete BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER people_stay BEFORE TRUNCATE ON people FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER stalls_no_delete BEFORE DELETE ON stalls FOR EACH ROW EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER stalls_stay BEFORE TRUNCATE ON stalls FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER vouchers_no_delete BEFORE DELETE ON vouchers FOR EACH ROW EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER vouchers_stay BEFORE TRUNCATE ON vouchers FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER accounts_no_delete BEFORE DELETE ON accounts FOR EACH ROW EXECUTE FUNCTION refuse_removal();
CREATE TRIGGER accounts_stay BEFORE TRUNCATE ON accounts FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();

CREATE TRIGGER organisations_keep BEFORE UPDATE OF id ON organisations FOR EACH ROW
WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER people_keep BEFORE UPDATE OF id, organisation_id ON people FOR EACH ROW
WHEN ((OLD.id, OLD.organisation_id) <> (NEW.id, NEW.organisation_id)) EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER stalls_keep BEFORE UPDATE OF id, producer_id ON stalls FOR EACH ROW
WHEN ((OLD.id, OLD.producer_id) <> (NEW.id, NEW.producer_id)) EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER vouchers_keep BEFORE UPDATE OF id, enrolment_id ON vouchers FOR EACH ROW
WHEN ((OLD.id, OLD.enrolment_id) <> (NEW.id, NEW.enrolment_id)) EXECUTE FUNCTION refuse_rewriting();

-- What the journal says is looked up once a statement --------------------------------------------

-- Each row is looked up by its id, whatever the planner knew of the tables when it first planned this. Nobody's
-- temporary tables stand in for them.
CREATE FUNCTION transfers_refer() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_seqscan = off AS $$
BEGIN
  -- both accounts belong to the transfer's agreement: no cent crosses from one funder to another
  PERFORM FROM written w
  WHERE (SELECT agreement_id FROM accounts WHERE id = w.debit_account) IS DISTINCT FROM w.agreement_id
    OR (SELECT agreement_id FROM accounts WHERE id = w.credit_account) IS DISTINCT FROM w.agreement_id
    OR w.reverses IS NOT NULL AND (SELECT id FROM transfers WHERE id = w.reverses) IS NULL;
  IF FOUND THEN
    RAISE EXCEPTION 'a transfer violates foreign key constraint: an account of its agreement, or what it reverses, is missing'
      USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END
$$;
ALTER TABLE transfers
  DROP CONSTRAINT transfers_debit_account_agreement_id_fkey,
  DROP CONSTRAINT transfers_credit_account_agreement_id_fkey,
  DROP CONSTRAINT transfers_reverses_fkey,
  DROP CONSTRAINT transfers_reverses_key;
ALTER TABLE accounts DROP CONSTRAINT accounts_id_agreement_id_key;
CREATE UNIQUE INDEX transfers_reverses_key ON transfers (reverses) WHERE reverses IS NOT NULL; -- undone at most once
CREATE TRIGGER transfers_refer AFTER INSERT ON transfers REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION transfers_refer();

CREATE FUNCTION redemptions_refer() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_seqscan = off AS $$
BEGIN
  -- by a card of that household, at a stall of that producer, taken by somebody of it
  PERFORM FROM written w
  WHERE (SELECT enrolment_id FROM vouchers WHERE id = w.voucher_id) IS DISTINCT FROM w.enrolment_id
    OR (SELECT producer_id FROM stalls WHERE id = w.stall_id) IS DISTINCT FROM w.producer_id
    OR (SELECT organisation_id FROM people WHERE id = w.person_id) IS DISTINCT FROM w.producer_id
    OR w.hold_id IS NOT NULL AND (SELECT enrolment_id FROM holds WHERE id = w.hold_id) IS DISTINCT FROM w.enrolment_id;
  IF FOUND THEN
    RAISE EXCEPTION 'a redemption violates foreign key constraint: its card, stall, seller or hold is missing'
      USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END
$$;
ALTER TABLE redemptions
  DROP CONSTRAINT redemptions_voucher_id_fkey,
  DROP CONSTRAINT redemptions_enrolment_id_fkey,
  DROP CONSTRAINT redemptions_producer_id_fkey,
  DROP CONSTRAINT redemptions_stall_id_fkey,
  DROP CONSTRAINT redemptions_person_id_fkey,
  DROP CONSTRAINT redemptions_hold_id_fkey,
  DROP CONSTRAINT redemptions_hold_id_key;
CREATE UNIQUE INDEX redemptions_hold_id_key ON redemptions (hold_id) WHERE hold_id IS NOT NULL;
CREATE TRIGGER redemptions_refer AFTER INSERT ON redemptions REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION redemptions_refer();

CREATE FUNCTION idempotency_keys_refer() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_seqscan = off AS $$
BEGIN
  PERFORM FROM written w WHERE (SELECT id FROM organisations WHERE id = w.organisation_id) IS NULL;
  IF FOUND THEN
    RAISE EXCEPTION 'an idempotency key violates foreign key constraint: its organisation is missing'
      USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END
$$;
ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_organisation_id_fkey;
CREATE TRIGGER idempotency_keys_refer AFTER INSERT ON idempotency_keys REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION idempotency_keys_refer();

-- Fewer and lighter rows to write ---------------------------------------------------------------

-- Changes balances, each in the order of the ids, which come sorted: two at once never wait for each other in a circle.
-- By loops alone, and with a condition that no merge of two orders can use, the planner has no other way than to look
-- each id up. An account that is missing or would be overdrawn is left out of the number.
CREATE FUNCTION move_balances(account_ids UUID[], changes INT8[]) RETURNS INT8 LANGUAGE plpgsql
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
  moved INT8;
BEGIN
  UPDATE accounts a SET balance_cents = a.balance_cents + c.cents FROM unnest(account_ids, changes) AS c (id, cents)
  WHERE a.id = ANY (ARRAY[c.id]) AND (a.kind IN ('funder', 'held') OR a.balance_cents >= -c.cents);
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END
$$;
-- A trigger before an update would lock each row once more than the update does.
DROP TRIGGER accounts_keep ON accounts;
CREATE TRIGGER accounts_keep AFTER UPDATE ON accounts FOR EACH ROW
WHEN ((OLD.id, OLD.agreement_id, OLD.kind, OLD.producer_id)
  IS DISTINCT FROM (NEW.id, NEW.agreement_id, NEW.kind, NEW.producer_id))
EXECUTE FUNCTION refuse_rewriting();
-- A household's purchases are found by their enrolment.
DROP INDEX redemptions_by_voucher;
-- Balances change in place where their page has room.
ALTER TABLE accounts SET (fillfactor = 80);
