//! The tables as the queries know them; a test compares them with both databases.

/// The SQL types of the columns, for the macro.
mod types {
    pub use crate::kit::sql::ty;
    pub use diesel::sql_types::*;
}

diesel::table! {
    use crate::db::schema::types::*;

    organisations (id) {
        id -> ty::Id,
        kind -> Text,
        name -> Text,
        created_by -> Nullable<ty::Id>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    people (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        email -> Text,
        name -> Text,
        lead -> Bool,
        password_hash -> Nullable<Text>,
        invitation_digest -> Nullable<Binary>,
        invitation_expires_at -> Nullable<ty::Instant>,
        created_at -> ty::Instant,
        disabled_at -> Nullable<ty::Instant>,
        totp_sealed -> Nullable<Binary>,
        totp_confirmed_at -> Nullable<ty::Instant>,
        totp_last_step -> Nullable<BigInt>,
        totp_pending_sealed -> Nullable<Binary>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    sessions (id) {
        id -> ty::Id,
        person_id -> ty::Id,
        refresh_digest -> Binary,
        created_at -> ty::Instant,
        expires_at -> ty::Instant,
        ended_at -> Nullable<ty::Instant>,
        second_factor_at -> Nullable<ty::Instant>,
        wrong_codes -> Integer,
        address_digest -> Nullable<Binary>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    recovery_codes (person_id, digest) {
        person_id -> ty::Id,
        digest -> Binary,
        used_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    spent_refresh_tokens (digest) {
        digest -> Binary,
        session_id -> ty::Id,
        spent_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    attempts (kind, subject) {
        kind -> Text,
        subject -> Binary,
        failures -> Integer,
        began_at -> ty::Instant,
        last_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    signing_keys (key_id) {
        key_id -> Text,
        purpose -> Text,
        created_at -> ty::Instant,
        retired_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    audit_entries (sequence) {
        sequence -> BigInt,
        occurred_at -> ty::Instant,
        person_id -> Nullable<ty::Id>,
        organisation_id -> Nullable<ty::Id>,
        action -> Text,
        subject -> Nullable<Text>,
        detail -> Nullable<Text>,
        digest -> Binary,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    idempotency_keys (organisation_id, key) {
        organisation_id -> ty::Id,
        key -> Text,
        request_digest -> Binary,
        answer -> Nullable<Text>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    programmes (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        name -> Text,
        state -> Text,
        time_zone -> Text,
        starts_on -> ty::Day,
        ends_on -> ty::Day,
        funding_rule -> Text,
        rules -> Text,
        legal_basis -> Nullable<Text>,
        legal_reference -> Nullable<Text>,
        created_at -> ty::Instant,
        opened_at -> Nullable<ty::Instant>,
        closed_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    programme_communes (programme_id, code) {
        programme_id -> ty::Id,
        code -> Text,
        name -> Text,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    programme_members (programme_id, organisation_id) {
        programme_id -> ty::Id,
        organisation_id -> ty::Id,
        since -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    agreements (id) {
        id -> ty::Id,
        programme_id -> ty::Id,
        funder_id -> ty::Id,
        reference -> Text,
        position -> Integer,
        share_weight -> Integer,
        granted_cents -> BigInt,
        starts_on -> ty::Day,
        ends_on -> ty::Day,
        grace_days -> Integer,
        signed_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    funding_sets (id) {
        id -> ty::Id,
        programme_id -> ty::Id,
        members -> Text,
        cumulated_cents -> BigInt,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    accounts (id) {
        id -> ty::Id,
        agreement_id -> ty::Id,
        kind -> Text,
        producer_id -> Nullable<ty::Id>,
        balance_cents -> BigInt,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    transfers (id) {
        id -> ty::Id,
        debit_account -> ty::Id,
        credit_account -> ty::Id,
        agreement_id -> ty::Id,
        amount_cents -> BigInt,
        code -> Text,
        reference -> ty::Id,
        reverses -> Nullable<ty::Id>,
        occurred_at -> ty::Instant,
        recorded_at -> ty::Instant,
        digest -> Binary,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    producers (id) {
        id -> ty::Id,
        siret -> Text,
        iban -> Text,
        account_holder -> Text,
        updated_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    stalls (id) {
        id -> ty::Id,
        producer_id -> ty::Id,
        name -> Text,
        commune_code -> Text,
        commune_name -> Text,
        open -> Bool,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    applications (programme_id, producer_id) {
        programme_id -> ty::Id,
        producer_id -> ty::Id,
        state -> Text,
        applied_at -> ty::Instant,
        decided_at -> Nullable<ty::Instant>,
        decided_by -> Nullable<ty::Id>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    households (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        reference -> Text,
        adults -> Integer,
        children -> Integer,
        commune_code -> Text,
        created_at -> ty::Instant,
        contacted_at -> ty::Instant,
        erased_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    sealed_identities (household_id) {
        household_id -> ty::Id,
        key_id -> Text,
        sealed -> Binary,
        updated_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    household_fingerprints (household_id, kind) {
        household_id -> ty::Id,
        kind -> Text,
        digest -> Binary,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    household_duplicates (id) {
        id -> ty::Id,
        first_household -> ty::Id,
        second_household -> ty::Id,
        found_at -> ty::Instant,
        dismissed_at -> Nullable<ty::Instant>,
        dismissed_by -> Nullable<ty::Id>,
        reason_sealed -> Nullable<Binary>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    enrolments (id) {
        id -> ty::Id,
        household_id -> ty::Id,
        programme_id -> ty::Id,
        organisation_id -> ty::Id,
        adults -> Integer,
        children -> Integer,
        commune_code -> Text,
        state -> Text,
        starts_on -> ty::Day,
        promised_cents -> BigInt,
        closes_at -> Nullable<ty::Instant>,
        waiting_since -> Nullable<ty::Instant>,
        activated_at -> Nullable<ty::Instant>,
        left_at -> Nullable<ty::Instant>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    allowances (id) {
        id -> ty::Id,
        enrolment_id -> ty::Id,
        period -> Integer,
        starts_on -> ty::Day,
        ends_on -> ty::Day,
        opens_at -> ty::Instant,
        closes_at -> ty::Instant,
        amount_cents -> BigInt,
        state -> Text,
        funding_set_id -> Nullable<ty::Id>,
        issued_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    allowance_parts (id) {
        id -> ty::Id,
        allowance_id -> ty::Id,
        agreement_id -> ty::Id,
        position -> Integer,
        amount_cents -> BigInt,
        spendable_until -> ty::Instant,
        open -> Bool,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    vouchers (id) {
        id -> ty::Id,
        enrolment_id -> ty::Id,
        organisation_id -> ty::Id,
        state -> Text,
        code_digest -> Binary,
        code_try -> Integer,
        valid_from -> ty::Day,
        valid_to -> ty::Day,
        replaces -> Nullable<ty::Id>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    redemptions (id) {
        id -> ty::Id,
        voucher_id -> ty::Id,
        enrolment_id -> ty::Id,
        producer_id -> ty::Id,
        stall_id -> ty::Id,
        person_id -> ty::Id,
        siret -> Text,
        basket_cents -> BigInt,
        covered_cents -> BigInt,
        void_until -> ty::Instant,
        occurred_at -> ty::Instant,
        recorded_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    redemption_lines (redemption_id, position) {
        redemption_id -> ty::Id,
        position -> Integer,
        category -> Text,
        amount_cents -> BigInt,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    voids (redemption_id) {
        redemption_id -> ty::Id,
        person_id -> ty::Id,
        reason -> Nullable<Text>,
        recorded_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    clock (id) {
        id -> Integer,
        reached -> ty::Instant,
    }
}

diesel::joinable!(people -> organisations (organisation_id));
diesel::joinable!(sessions -> people (person_id));
diesel::joinable!(spent_refresh_tokens -> sessions (session_id));
diesel::joinable!(agreements -> programmes (programme_id));
diesel::joinable!(accounts -> agreements (agreement_id));
diesel::joinable!(allowance_parts -> allowances (allowance_id));
diesel::joinable!(allowances -> enrolments (enrolment_id));
diesel::joinable!(enrolments -> programmes (programme_id));
diesel::joinable!(enrolments -> households (household_id));
diesel::joinable!(vouchers -> enrolments (enrolment_id));
diesel::joinable!(redemptions -> vouchers (voucher_id));
diesel::joinable!(redemption_lines -> redemptions (redemption_id));
diesel::joinable!(voids -> redemptions (redemption_id));
diesel::joinable!(applications -> programmes (programme_id));
diesel::joinable!(applications -> producers (producer_id));
diesel::joinable!(programme_members -> programmes (programme_id));
diesel::joinable!(programme_members -> organisations (organisation_id));
diesel::joinable!(sealed_identities -> households (household_id));
diesel::joinable!(agreements -> organisations (funder_id));
diesel::joinable!(producers -> organisations (id));
diesel::joinable!(programme_communes -> programmes (programme_id));

diesel::allow_tables_to_appear_in_same_query!(
    organisations,
    people,
    sessions,
    recovery_codes,
    spent_refresh_tokens,
    attempts,
    signing_keys,
    audit_entries,
    idempotency_keys,
    programmes,
    programme_communes,
    programme_members,
    agreements,
    funding_sets,
    accounts,
    transfers,
    producers,
    stalls,
    applications,
    households,
    sealed_identities,
    household_fingerprints,
    household_duplicates,
    enrolments,
    allowances,
    allowance_parts,
    vouchers,
    redemptions,
    redemption_lines,
    voids,
    clock,
);
