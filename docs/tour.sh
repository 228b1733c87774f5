#!/usr/bin/env bash
# Walks the whole way of a euro through a running server, and checks every answer.
# shellcheck disable=SC2016 # variables in single quotes are jq's
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: docs/tour.sh [BASE_URL [ADMIN_EMAIL [ADMIN_PASSWORD]]]

BASE_URL is http://127.0.0.1:8080 if not given; address and password may also come
from the environment, as ADMIN_EMAIL and ADMIN_PASSWORD. The tour makes people and
programmes of its own, all invented, and touches no others: it runs beside other
data and as often as you like. What it made stays: keep it off servers in real use.
It needs curl and jq; zbarimg, if it is there, reads the card back.
TEXT
}

case "${1:-}" in -h | --help) usage && exit ;; esac
api=${1:-http://127.0.0.1:8080}/api/v1
admin_email=${2:-${ADMIN_EMAIL:-}} admin_password=${3:-${ADMIN_PASSWORD:-}}
if [ -z "$admin_email" ] || [ -z "$admin_password" ]; then usage >&2 && exit 2; fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
run=$(date +%s)$(printf '%04d' $((RANDOM % 10000))) # what tells this tour from all others
declare -A tokens=()                                # everybody's access token, by a short name
who='' method='' path='' body='' status='' key='' checks=0 keys=0 steps=0

step() {
  steps=$((steps + 1))
  printf '\n%d. %s\n' "$steps" "$1"
}

fail() {
  printf '\nThe tour failed in step %d.\n  asked:    %s %s, as %s\n  expected: %s\n  came:     %s\n' \
    "$steps" "$method" "$path" "${who:-a stranger}" "$1" "$2" >&2
  exit 1
}

# json FILTER [NAME VALUE]...: JSON out of named strings
json() {
  local filter=$1 arguments=()
  shift
  for (( ; $# > 1; )); do arguments+=(--arg "$1" "$2") && shift 2; done
  jq -cn "${arguments[@]}" "$filter"
}

# as WHOM [COMMAND...]: from here on it is this person who asks
as() {
  who=$1
  [ $# -eq 1 ] || "${@:2}"
}

# ask METHOD PATH [BODY [HEADER]]: the answer is then in $scratch/body, its status in $status
ask() {
  method=$1 path=$2 body=${3:-}
  local arguments=(--header "@$scratch/headers")
  printf 'Accept-Language: en\n%s\n' "${4:-}" >"$scratch/headers"
  [ -z "$who" ] || printf 'Authorization: Bearer %s\n' "${tokens[$who]}" >>"$scratch/headers"
  printf '%s' "$body" >"$scratch/request"
  [ -z "$body" ] || arguments+=(--header 'Content-Type: application/json' --data-binary "@$scratch/request")
  : >"$scratch/body"
  status=$(curl --silent --show-error --max-time 30 --request "$method" "${arguments[@]}" --output "$scratch/body" \
    --dump-header "$scratch/answered" --write-out '%{http_code}' "$api$path") || fail 'an answer' 'none'
}

# once PATH BODY: a POST under a new key; again [BODY]: under the same key once more
once() {
  keys=$((keys + 1)) key=tour-$run-$keys
  ask POST "$1" "$2" "Idempotency-Key: $key"
}
again() { ask POST "$path" "${1:-$body}" "Idempotency-Key: $key"; }

# must STATUS SHOW [CHECK]: what to show of the answer ('' for nothing), and what must be true of it
must() {
  checks=$((checks + 1))
  [ "$status" = "$1" ] || fail "$1" "$status $(cat "$scratch/body")"
  [ -z "${3:-}" ] || jq -e "def cents: sub(\"[.]\"; \"\") | tonumber; $3" "$scratch/body" >/dev/null ||
    fail "$3" "$(cat "$scratch/body")"
  [ -z "$2" ] || printf '   %s %s (%s)\n     -> %s %s\n' "$method" "$path" "$who" "$status" "$(jq -c "$2" "$scratch/body")"
}

# holds WHAT COMMAND...: a check of something else than an answer
holds() {
  checks=$((checks + 1))
  "${@:2}" || fail "$1" "not so: ${*:2}"
  printf '   ok: %s\n' "$1"
}

get() { jq -er "$1" "$scratch/body" || fail "an answer with $1" "$(cat "$scratch/body")"; }
is() { [ "$1" = "$2" ]; }
keep() { cp "$scratch/body" "$scratch/$1"; }

# The digit that makes a number pass the check of Luhn.
luhn() {
  local sum=0 i digit
  for ((i = 0; i < ${#1}; i++)); do
    digit=$((${1:${#1}-1-i:1} * (2 - i % 2)))
    sum=$((sum + digit / 10 + digit % 10))
  done
  echo $(((10 - sum % 10) % 10))
}

new_siret() { # a business of random digits, and its first establishment
  local siren
  siren=9$(printf '%03d%04d' $((RANDOM % 1000)) $((RANDOM % 10000)))
  siren+=$(luhn "$siren")
  echo "${siren}0001$(luhn "${siren}0001")"
}

new_iban() { # a French account of a bank that there is not, with the key of its RIB
  local account rib rest=0 i digits
  account=$(printf '%06d%05d' "$checks" $RANDOM)
  rib=$(printf '9999900001%s%02d' "$account" $((97 - (89 * 99999 + 15 + 3 * 10#$account) % 97)))
  digits=${rib}152700
  for ((i = 0; i < ${#digits}; i++)); do rest=$(((rest * 10 + ${digits:i:1}) % 97)); done
  printf 'FR%02d%s\n' $((98 - rest)) "$rib"
}

log_in() { # log_in SHORT-NAME EMAIL PASSWORD
  who=''
  ask POST /access/login "$(json '{$email, $password}' email "$2" password "$3")"
  must 200 '' '.token_type == "Bearer" and .expires_in > 0'
  tokens[$1]=$(get .access_token)
}

# welcome SHORT-NAME KIND ORGANISATION PERSON: an organisation and its lead, invited, accepted and logged in
welcome() {
  local host=$who email=$1.$run@tour.example password=panier-$run-garni
  ask POST /organisations "$(json '{$kind, $name}' kind "$2" name "$3 $run")"
  must 201 ''
  id=$(get .id)
  ask POST /people "$(json '{$organisation_id, $email, $name, lead: true}' organisation_id "$id" email "$email" name "$4")"
  must 201 '' '.person.lead'
  who=''
  ask POST /access/accept-invitation \
    "$(json '{$invitation, $password}' invitation "$(get .invitation)" password "$password")"
  must 204 ''
  log_in "$1" "$email" "$password"
  printf '   %s: %s, lead of %s, has accepted the invitation and logged in\n' "$1" "$4" "$3"
  who=$host
}

# --- the tour ---

printf 'A tour of Primeur at %s: the way of a euro, from a funder to a producer and into a report.\n' "$api"

step 'The administrator logs in, and brings in the organisation that runs the programme.'
log_in administrator "$admin_email" "$admin_password"
as administrator ask GET /access/me
must 200 '{role, organisation: .organisation.name}' '.role == "administrator"'
welcome manager manager 'Syndicat du Panier' 'Claire Exemple'

step 'The manager brings in two funders, two producers, a social structure and an evaluator.'
as manager welcome funder-one funder 'Fondation des Essais' 'Paul Exemple'; funder_one=$id
welcome funder-two funder 'Agence des Essais' 'Nadia Exemple'; funder_two=$id
welcome producer producer 'Ferme des Essais' 'Louis Exemple'; producer=$id
welcome other-producer producer 'Verger des Essais' 'Rose Exemple'
welcome social-worker social_structure 'CCAS des Essais' 'Inès Exemple'; structure=$id
welcome evaluator evaluator 'Observatoire des Essais' 'Marc Exemple'; evaluator=$id

export TZ='CET-1CEST,M3.5.0,M10.5.0/3' # the programme's days are those of Paris
month=$(date +%Y-%m)
last_day=$(date -d "$month-01 1 year 1 day ago" +%F)
days=(starts_on "$month-01" ends_on "$last_day")

# draft NAME MONTHS SHOW-BALANCE: a programme of 60 € a calendar month for each household
draft() {
  ask POST /programmes "$(json '{$name, time_zone: "Europe/Paris", $starts_on, $ends_on, funding_rule: "fixed_shares",
    rules: {amount: {per_household: "60.00", per_adult: "0.00", per_child: "0.00"}, expiry_days: 0, carry_over: "none",
      period: {unit: "month", length: 1, count: $count | tonumber}, start: "calendar_month",
      void_window_minutes: 60, void_grace_days: 7, show_balance: $show | fromjson},
    communes: [{code: "62427", name: "Hénin-Beaumont"}, {code: "62215", name: "Carvin"}],
    legal_basis: {code: "social_aid", reference: "Délibération des essais"}}' \
    name "$1 $run" count "$2" show "$3" "${days[@]}")"
  must 201 '{name, state, territory: [.communes[].name]}' '.state == "draft" and (.communes | length == 2)'
}

sign() { # sign PROGRAMME FUNDER REFERENCE EUROS WEIGHT
  once "/programmes/$1/agreements" "$(json '{$funder_id, $reference, $granted, $starts_on, $ends_on, grace_days: 0,
    share_weight: $weight | tonumber}' funder_id "$2" reference "$3" granted "$4" weight "$5" "${days[@]}")"
  must 201 '{reference, granted, share_weight}' ".granted == \"$4\" and .funder.id == \"$2\""
}

step "A programme of 60 € a month for six months, from $month-01 to $last_day. Without money it does not open."
draft 'Paniers de saison' 6 false
programme=$(get .id)
ask POST "/programmes/$programme/open"
must 409 '{code, detail}' '.code == "agreement_required"'

step 'Two funders sign, two to one. An agreement sent twice under one key is signed once.'
sign "$programme" "$funder_one" "A-$run" 4000.00 2
agreement_one=$(get .id)
keep first
again
must 201 ''
holds 'the repeat gets the first answer' cmp -s "$scratch/body" "$scratch/first"
holds 'and a header that says so' grep -qi '^idempotent-replay: true' "$scratch/answered"
sign "$programme" "$funder_two" "B-$run" 2000.00 1
agreement_two=$(get .id)
ask POST "/programmes/$programme/open"
must 200 '{state}' '.state == "open"'
for member in "$structure" "$evaluator"; do
  ask PUT "/programmes/$programme/members/$member"
  must 204 ''
done
ask GET "/programmes/$programme/members"
must 200 '[.items[].organisation.name]' '.items | length == 2'

step 'The producers say whom to pay and where they sell, and apply. One is approved, the other waits.'
for name in other-producer producer; do
  as "$name"
  profile=$(json '{$siret, $iban, account_holder: "Exemple"}' siret "$(new_siret)" iban "$(new_iban)")
  ask PUT /producers/me "${profile/\"siret\":\"9/\"siret\":\"8}"
  must 422 '' '.fields[0].field == "siret"'
  ask PUT /producers/me "$profile"
  must 200 '{name, siret, iban}'
  ask POST /stalls "$(json '{$name, commune: {code: "62215", name: "Carvin"}}' name "Marché, $name")"
  must 201 '{name, open}' .open
  declare "stall_of_${name//-/_}=$(get .id)"
  ask PUT "/programmes/$programme/applications/me"
  must 200 '{state}' '.state == "applied"'
done
as manager ask POST "/programmes/$programme/applications/$producer/approve"
must 200 '{producer: .producer.name, state}' '.state == "approved"'

enrol() { once /enrolments "$(json '{$household_id, $programme_id}' household_id "$1" programme_id "$2")"; }

step 'The social worker registers two households, one by name, one without. Whoever looks at a name is written down.'
as social-worker ask POST /households \
  "$(json '{adults: 2, children: 1, commune: "62427", identity: {family_name: "Exemple", first_name: "Lucienne", $email}}' \
    email "lucienne.$run@tour.example")"
must 201 '{reference, adults, children, has_identity}' '.has_identity and .possible_duplicates == 0'
household=$(get .id)
ask POST /households '{"adults": 2, "children": 1, "commune": "62215"}'
must 201 '{reference, adults, children, has_identity}' '.has_identity == false'
other_household=$(get .id)
ask POST /households/search "$(json '{$email}' email "Lucienne.$run@TOUR.example")"
must 200 '[.items[].reference]' "[.items[].id] == [\"$household\"]"
ask GET "/households/$household/identity"
must 200 '{family_name, first_name}' '.first_name == "Lucienne"'
ask GET "/households/$household/export"
must 200 '{looks: [.looks[].action]}' '[.looks[].action] == ["identity_read"]'

step 'The first is enrolled: 360 € are set aside.'
enrol "$household" "$programme"
must 201 '{state, promised, months: .allowances | length}' \
  '.state == "active" and .promised == "360.00" and (.allowances | length == 6)'
enrolment=$(get .id)
enrol "$household" "$programme"
must 409 '{code, detail}' '.code == "already_enrolled"'
as manager ask GET "/programmes/$programme/budget"
must 200 '.agreements | map({reference, available, committed, issued})' \
  '[.agreements[] | (.committed | cents) + (.issued | cents)] == [24000, 12000]'

step 'A card is handed over: a QR code, and a short code to type where a camera fails.'
as social-worker once /vouchers "$(json '{$enrolment_id}' enrolment_id "$enrolment")"
must 201 '{state, code, valid_from, valid_to}' \
  '(.code | test("^([0-9A-Z]{4}-){2}[0-9A-Z]{4}$")) and (.token | test("^HTTPS://[^/]+/V/[A-Z2-7]{146}$"))'
voucher=$(get .id) code=$(get .code) token=$(get .token)
ask GET "/vouchers/$voucher/qr"
holds 'the QR code comes as SVG' grep -q '</svg>' "$scratch/body"
ask GET "/vouchers/$voucher/qr" '' 'Accept: image/png'
holds 'or as PNG, where that is asked for' is "$(head -c 4 "$scratch/body" | tail -c 3)" PNG
if command -v zbarimg >/dev/null; then
  keep card.png
  holds 'a reader that is not ours reads the token from it' is "$(zbarimg -q --raw "$scratch/card.png" 2>/dev/null)" "$token"
else
  echo '   not checked: zbarimg is not there to read the picture'
fi

# shellcheck disable=SC2154 # declared above, by name
stall=$stall_of_producer other_stall=$stall_of_other_producer

check() { ask POST /vouchers/check "$(json '{$voucher, $stall_id}' voucher "$1" stall_id "$stall")"; }

# redeem VOUCHER STALL EUROS PARTIAL [LINES]: a purchase, under a new key
redeem() {
  once /redemptions "$(json '{$voucher, $stall_id, $basket, partial: $partial | fromjson, lines: $lines | fromjson}' \
    voucher "$1" stall_id "$2" basket "$3" partial "$4" lines "${5:-[]}")"
}

step 'At the stall: may I? Yes. What the card holds, the seller is not told.'
as producer check "$token"
must 200 '{accepted, spendable}' '.accepted and .spendable == null'

step 'A basket of 25.40 € is paid. If the answer is lost on the way, asking again pays nothing more.'
redeem "$token" "$stall" 25.40 false \
  '[{"category": "fruit_vegetables", "amount": "15.40"}, {"category": "eggs", "amount": "10.00"}]'
must 201 '{basket, covered, to_collect, lines}' '.covered == "25.40" and .to_collect == "0.00" and (.lines | length == 2)'
keep first
again
must 201 ''
holds 'the repeat gets the first answer' cmp -s "$scratch/body" "$scratch/first"
again "${body/\"partial\":false/\"partial\":true}"
must 409 '{code}' '.code == "idempotency_conflict"'
redeem "$token" "$stall" 25.40 false
must 409 '{code, detail}' '.code == "already_redeemed_by_you"'

step 'A producer who is not approved is told so, and nothing of what the card holds.'
as other-producer redeem "$token" "$other_stall" 5.00 false
must 409 '{code, detail}' '.code == "producer_not_approved" and .spendable == null'

step 'A basket above what is left: refused, or covered in part if the seller says that a part will do.'
as producer redeem "$code" "$stall" 50.00 false
must 409 '{code, spendable}' '.code == "insufficient_balance" and .spendable == null'
redeem "$code" "$stall" 50.00 true
must 201 '{basket, covered, to_collect}' '.covered == "34.60" and .to_collect == "15.40"'
redemption=$(get .id)

step 'That one is undone: the money is back at once, and undoing it twice changes nothing.'
for _ in once twice; do
  ask POST "/redemptions/$redemption/void" '{"reason": "changed their mind"}'
  must 200 '{covered, voided: .voided.reason}' '.voided.reason == "changed their mind"'
done

step 'A lost card is blocked, found again, and lost for good: the new one holds what the old one held.'
for change in block:false unblock:true; do
  as social-worker ask POST "/vouchers/$voucher/${change%:*}"
  must 200 '{state}'
  as producer check "$token"
  must 200 '{accepted, code}' ".accepted == ${change#*:} and (.accepted or .code == \"voucher_blocked\")"
done
as social-worker once "/vouchers/$voucher/replace" ''
must 201 '{state, code}' ".state == \"active\" and .code != \"$code\" and .token != \"$token\""
new_code=$(get .code)
ask GET "/enrolments/$enrolment"
must 200 '.allowances[0] | {period, state, amount, balance}' '.allowances[0] | .state == "issued" and .balance == "34.60"'
as producer
for old in "$token" "$code"; do
  check "$old"
  must 200 '{accepted, code}' '.code == "voucher_replaced"'
done
redeem "${new_code,,}" "$stall" 10.00 false
must 201 '{covered, to_collect}' '.covered == "10.00"'

step 'A small programme has money for one household. The second one waits; when the first leaves, it moves up.'
as manager draft 'Petit panier' 1 true
small=$(get .id)
sign "$small" "$funder_two" "C-$run" 60.00 1
ask POST "/programmes/$small/open"
must 200 ''
ask PUT "/programmes/$small/members/$structure"
must 204 ''
as social-worker enrol "$other_household" "$small"
must 201 '{state, promised}' '.state == "active"'
leaving=$(get .id)
enrol "$household" "$small"
must 201 '{state, promised, waiting_since}' '.state == "waiting" and .allowances == []'
waiting=$(get .id)
ask POST "/enrolments/$leaving/leave" '{"return_issued": true}'
must 200 '{state}' '.state == "left" and ([.allowances[].balance | cents] | add == 0)'
ask GET "/enrolments/$waiting"
must 200 '{state, promised}' '.state == "active" and .waiting_since == null'

step 'The budget of the first programme adds up, for the manager and for the evaluator.'
for reader in manager evaluator; do
  as "$reader" ask GET "/programmes/$programme/budget"
  must 200 '.total' '[.total, .agreements[]] | all(del(.agreement_id, .reference) | map_values(cents) |
    .granted == .available + .committed + .issued - .returned and .outstanding == .issued - .redeemed - .returned)'
  must 200 '' '.total | .granted == "6000.00" and .committed == "300.00" and
    .redeemed == "35.40" and .outstanding == "24.60"'
done

step "The first funder's month: open until it is over, and every figure follows from the others."
as funder-one
report=/agreements/$agreement_one/reconciliations/$month
ask GET "$report"
must 200 '{status, available, committed, outstanding, payable}' '.status == "open"'
must 200 '{by_producer, by_commune, line: .lines[0], control}' '.control.lines == 4 and (.lines | length == 4)'
for sum in '.available | .opening + .granted - .committed + .released + .returned' \
  '.committed | .opening + .committed - .released - .issued' \
  '.outstanding | .opening + .issued - .redeemed + .voided - .returned' '.payable | .opening + .redeemed - .voided'; do
  must 200 '' "${sum/ | / | map_values(cents) | .closing == }"
  printf '   adds up: %s = .closing\n' "$sum"
done
must 200 '' '.control as $c | [.outstanding, .payable] | all(.redeemed == $c.redeemed and .voided == $c.voided)'
must 200 '' '([.lines[] | (.part | cents) * (if .kind == "void" then -1 else 1 end)] | add) as $net |
  [.by_producer, .by_commune, [.control]] | all([.[].net | cents] | add == $net)'
must 200 '' '.by_commune | map(.name) == ["Autres communes"]' # of fewer than 11 households, none is named
holds 'no household is named in it' is "$(grep -ce Lucienne -e hhd_ -e enr_ "$scratch/body")" 0
redeemed=$(get '.control.redeemed')

step 'The same month as a file: its last line is the SHA-256 of the others, so that nobody has to trust us.'
ask GET "$report" '' 'Accept: text/csv'
digest=$(head -n -1 "$scratch/body" | sha256sum | cut -d ' ' -f 1)
tail -n 2 "$scratch/body" | sed 's/^/   /'
holds 'sha256sum agrees with the last line' is "$(tail -n 1 "$scratch/body")" "control,sha256,$digest,,,,,,"
ask GET "$report?format=csv-excel-fr"
tail -n 2 "$scratch/body" | tr -d '\r' | sed 's/^/   /'
holds 'for a French spreadsheet it begins with a byte order mark' is "$(head -c 3 "$scratch/body" | od -An -tx1)" ' ef bb bf'
holds 'has semicolons and decimal commas' grep -q '^contrôle;net;;;;;;23,60;' "$scratch/body"
holds 'and carries the same digest' grep -q "^contrôle;sha256;$digest;" "$scratch/body"

step 'The other funder gets its own part, and nothing of the first one.'
as funder-two ask GET "/agreements/$agreement_two/reconciliations/$month"
must 200 '{agreement: .agreement.reference, control}' ".control.redeemed | cents == 7000 - (\"$redeemed\" | cents)"
ask GET "$report"
must 404 '{code}' '.code == "not_found"'
ask GET /agreements
must 200 '[.items[].reference]' "[.items[].reference] == [\"B-$run\", \"C-$run\"]"

step 'A producer reads no reconciliation, and whoever has logged out reads nothing.'
as producer ask GET "$report"
must 403 '{code}' '.code == "forbidden"'
as funder-one ask POST /access/logout
must 204 ''
ask GET "$report"
must 401 '{code}' '.code == "unauthenticated"'

printf '\nThe tour passed: %d checks.\n' "$checks"
