-- What pgbench runs: a redemption with nothing but what must be written, in one round trip. Four references and ten
-- entries of indexes, as in the figures that the bench is held against; no rules, no digests, numbers in the place of UUIDs.

CREATE TABLE producers (id INT8 PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE vouchers (
  id INT8 PRIMARY KEY,
  state TEXT NOT NULL,
  opens_at TIMESTAMPTZ NOT NULL,
  closes_at TIMESTAMPTZ NOT NULL,
  balance_cents INT8 NOT NULL CHECK (balance_cents >= 0)
);
CREATE TABLE redemptions (
  id INT8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  voucher_id INT8 NOT NULL REFERENCES vouchers (id),
  producer_id INT8 NOT NULL REFERENCES producers (id),
  covered_cents INT8 NOT NULL CHECK (covered_cents > 0),
  recorded_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX redemptions_by_producer ON redemptions (producer_id, id);
CREATE INDEX redemptions_by_voucher ON redemptions (voucher_id, recorded_at);
CREATE TABLE postings (
  id INT8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  redemption_id INT8 NOT NULL REFERENCES redemptions (id),
  account INT8 NOT NULL,
  amount_cents INT8 NOT NULL,
  recorded_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX postings_by_redemption ON postings (redemption_id);
CREATE INDEX postings_by_account ON postings (account, recorded_at);
CREATE TABLE idempotency_keys (
  producer_id INT8 NOT NULL,
  key TEXT NOT NULL,
  answer TEXT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (producer_id, key)
);

INSERT INTO producers SELECT n, 'approved' FROM generate_series(1, 200) n;
INSERT INTO vouchers SELECT n, 'active', now() - interval '40 days', now() + interval '40 days', 900000
  FROM generate_series(1, :vouchers) n;
INSERT INTO redemptions (voucher_id, producer_id, covered_cents, recorded_at)
  SELECT 1 + n * 7919 % :vouchers, 1 + n % 200, 100, now() - interval '30 days' FROM generate_series(1, :vouchers) n;
INSERT INTO postings (redemption_id, account, amount_cents, recorded_at)
  SELECT id, side, 100, recorded_at FROM redemptions, LATERAL (VALUES (-voucher_id), (producer_id)) sides (side);
INSERT INTO idempotency_keys SELECT producer_id, md5(id::text), '{}', recorded_at FROM redemptions;

CREATE FUNCTION redeem(v INT8, p INT8, cents INT8, k INT8) RETURNS TEXT LANGUAGE plpgsql AS $$
DECLARE
  told TEXT;
  bought INT8;
  the_key TEXT := md5(k::text);
BEGIN
  SELECT answer INTO told FROM idempotency_keys WHERE producer_id = p AND key = the_key;
  IF FOUND THEN
    RETURN told;
  END IF;
  PERFORM FROM producers WHERE id = p AND state = 'approved';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not approved';
  END IF;
  UPDATE vouchers SET balance_cents = balance_cents - cents
    WHERE id = v AND state = 'active' AND now() >= opens_at AND now() < closes_at AND balance_cents >= cents;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'refused';
  END IF;
  INSERT INTO redemptions (voucher_id, producer_id, covered_cents, recorded_at) VALUES (v, p, cents, now())
    RETURNING id INTO bought;
  INSERT INTO postings (redemption_id, account, amount_cents, recorded_at)
    VALUES (bought, -v, -cents, now()), (bought, p, cents, now());
  told := '{"id":' || bought || ',"covered":' || cents || '}';
  INSERT INTO idempotency_keys VALUES (p, the_key, told, now());
  RETURN told;
END
$$;
