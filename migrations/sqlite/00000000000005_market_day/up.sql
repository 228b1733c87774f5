-- A purchase is by a card of its household, at a stall of its producer, and taken by somebody of it.
CREATE TRIGGER redemptions_refer BEFORE INSERT ON redemptions
WHEN (SELECT enrolment_id FROM vouchers WHERE id = NEW.voucher_id) IS NOT NEW.enrolment_id
  OR (SELECT producer_id FROM stalls WHERE id = NEW.stall_id) IS NOT NEW.producer_id
  OR (SELECT organisation_id FROM people WHERE id = NEW.person_id) IS NOT NEW.producer_id
  OR NEW.hold_id IS NOT NULL AND (SELECT enrolment_id FROM holds WHERE id = NEW.hold_id) IS NOT NEW.enrolment_id
BEGIN
  SELECT RAISE(ABORT, 'a redemption violates foreign key constraint: its card, stall, seller or hold is missing');
END;

-- Nor do they change hands afterwards. Their ids, and that they stay, are held by what refers to them.
CREATE TRIGGER people_keep BEFORE UPDATE OF organisation_id ON people WHEN OLD.organisation_id <> NEW.organisation_id
BEGIN
  SELECT RAISE(ABORT, 'people keeps what it was written with');
END;
CREATE TRIGGER stalls_keep BEFORE UPDATE OF producer_id ON stalls WHEN OLD.producer_id <> NEW.producer_id
BEGIN
  SELECT RAISE(ABORT, 'stalls keeps what it was written with');
END;
CREATE TRIGGER vouchers_keep BEFORE UPDATE OF enrolment_id ON vouchers WHEN OLD.enrolment_id <> NEW.enrolment_id
BEGIN
  SELECT RAISE(ABORT, 'vouchers keeps what it was written with');
END;

-- A household's purchases are found by their enrolment: one index fewer to write for each of them.
DROP INDEX redemptions_by_voucher;
