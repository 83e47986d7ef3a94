package statement_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/statement"
)

// What follows makes keys, cards and other terms from names alone, so that vectors and the examples in docs/formats come out
// the same each time. The keys protect nothing.

func seed(purpose string) []byte {
	h := statement.HashBytes([]byte("entente test key " + purpose))
	return h[:]
}

// testKey is the key of that name.
func testKey(t testing.TB, name string) *statement.Key {
	t.Helper()
	return seededKey(t, name, seed(name))
}

// seededKey makes the key of that name from a seed.
func seededKey(t testing.TB, name string, seed []byte) *statement.Key {
	t.Helper()
	vkey, err := note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(vkey, "+")[1]
	k, err := statement.ParseKey("PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...)))
	if err != nil {
		t.Fatal(err)
	}
	if k.Public != vkey {
		t.Fatalf("key %s has the public half %s, want %s", name, k.Public, vkey)
	}
	return k
}

func testKeys(t testing.TB, names ...string) []*statement.Key {
	t.Helper()
	keys := make([]*statement.Key, len(names))
	for i, n := range names {
		keys[i] = testKey(t, n)
	}
	return keys
}

// mldsaKey is the post-quantum verifier key of that name.
func mldsaKey(t testing.TB, name string) string {
	t.Helper()
	k, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed(name+" ML-DSA-44"))
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := statement.MLDSAKey(name, k.PublicKey().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

// mldsaHash is the post-quantum key's name and hash, without its bytes.
func mldsaHash(t testing.TB, name string) string {
	t.Helper()
	parts := strings.SplitN(mldsaKey(t, name), "+", 3)
	return parts[0] + "+" + parts[1]
}

// recipient is the hybrid age recipient of that name.
func recipient(t testing.TB, name string) string {
	t.Helper()
	k, err := hpke.MLKEM768X25519().NewPrivateKey(seed(name))
	if err != nil {
		t.Fatal(err)
	}
	return bech32("age1pq", k.PublicKey().Bytes())
}

// bech32 is BIP 173, without its limit of length, as age has it.
func bech32(hrp string, data []byte) string {
	const charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	var five []byte
	bits, n := 0, 0
	for _, b := range data {
		bits, n = bits<<8|int(b), n+8
		for ; n >= 5; n -= 5 {
			five = append(five, byte(bits>>(n-5)&31))
		}
		bits &= 1<<n - 1
	}
	if n > 0 {
		five = append(five, byte(bits<<(5-n)&31))
	}
	var all []byte
	for _, c := range []byte(hrp) {
		all = append(all, c>>5)
	}
	all = append(all, 0)
	for _, c := range []byte(hrp) {
		all = append(all, c&31)
	}
	all = append(append(all, five...), 0, 0, 0, 0, 0, 0)
	sum := uint32(1)
	for _, v := range all {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	sum ^= 1
	for i := range 6 {
		five = append(five, byte(sum>>(5*(5-i))&31))
	}
	out := hrp + "1"
	for _, v := range five {
		out += string(charset[v])
	}
	return out
}

// steadySigner signs the same digest in the same way each time.
type steadySigner struct{ *ecdsa.PrivateKey }

func (s steadySigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(nil, digest, opts)
}

// authority is the CA certificate of that member.
func authority(t testing.TB, member string) string {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed(member+"/ca"))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: member}, NotBefore: noon, NotAfter: noon.AddDate(10, 0, 0),
		URIs: []*url.URL{{Scheme: "spiffe", Host: member}}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), steadySigner{key})
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func hashOf(what string) statement.Hash { return statement.HashBytes([]byte(what)) }

// crowd is that many member names of that length, sorted.
func crowd(n, length int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("m%02d%s", i, strings.Repeat("x", length-3))
	}
	return names
}

func manifest() statement.Manifest {
	return statement.Manifest{
		ID: "01K7XQ3W0V6N2T9R4M5B8C1D2E", From: "alpha", To: []string{"bravo", "charlie"},
		SealedFor: []statement.Hash{hashOf("bravo/sealing"), hashOf("charlie/sealing")},
		Charter:   hashOf("charter"), Agreement: "harbour-watch", AgreementHash: hashOf("agreement"),
		Purpose: "incident-response", Label: "TLP:AMBER", Created: noon, DeliverBy: noon.AddDate(0, 0, 7), RetainUntil: noon.AddDate(0, 0, 90),
		ReleasedBy: "spiffe://alpha/person/alice",
		Content: statement.Content{CiphertextHash: hashOf("ciphertext"), CiphertextSize: 2199023, HeaderHash: hashOf("header"),
			Commitment: statement.CommitmentPrefix + hashOf("commitment").String()},
	}
}

func agreement() statement.Agreement {
	return statement.Agreement{
		Name: "harbour-watch", Version: 1, Alliance: hashOf("charter"), Parties: []string{"alpha", "bravo", "charlie"},
		Purposes: []string{"exercise", "incident-response"}, Ceiling: "TLP:AMBER", RetainDays: 90, NoticeDays: 30, NotBefore: noon, NotAfter: noon.AddDate(1, 0, 0),
		Prose: "The parties tell each other at once what endangers shipping in the harbour.\n\nNobody pays for it.\n",
	}
}

// withdrawal is bravo's, from the agreement that agreement gives, with 30 days' notice.
func withdrawal() statement.Notice {
	return statement.Notice{Kind: statement.Withdraw, From: "bravo", To: []string{"alpha", "charlie"}, Agreement: "harbour-watch", Version: 1,
		AgreementHash: hashOf("agreement"), At: noon.AddDate(0, 2, 0), Ends: noon.AddDate(0, 2, 30), Reason: "the harbour of bravo closes"}
}

func receipt() statement.Receipt {
	return statement.Receipt{Kind: statement.Stored, From: "bravo", To: "alpha", Manifest: hashOf("manifest"), ID: manifest().ID,
		At: noon.Add(3 * time.Second), Log: "bravo/log/1", Leaf: 17}
}

func refusal() statement.Receipt {
	r := receipt()
	r.Kind = statement.Refused
	r.Reasons = []statement.Reason{{Set: "base", Rule: "agreement-superseded", Text: "version 1 of agreement harbour-watch was replaced by version 2",
		Needs: "a document under version 2"}}
	return r
}

func card(t testing.TB, member string) statement.Card {
	t.Helper()
	return statement.Card{
		Member: member, Version: 1, Created: noon, Address: member + ".example:7443", Jurisdiction: "NL",
		Statement: testKey(t, member+"/statement").Public, Recovery: testKey(t, member+"/recovery").Public,
		Log: testKey(t, member+"/log/1").Public, LogMLDSA: mldsaKey(t, member+"/log/1"),
		Witness: testKey(t, member+"/witness").Public, WitnessMLDSA: mldsaKey(t, member+"/witness"), CA: authority(t, member),
		Sealing: []statement.SealingKey{{Epoch: 1, Recipient: recipient(t, member+"/sealing")}},
	}
}

func cardKeys(member string) []string {
	return []string{member + "/statement", member + "/recovery", member + "/log/1", member + "/witness"}
}

func charter(t testing.TB, members ...string) statement.Charter {
	t.Helper()
	c := statement.Charter{Alliance: "harbour", Version: 1, Created: noon, AdoptBy: noon.AddDate(0, 0, 90), Quorum: statement.QuorumMajority}
	for _, m := range members {
		c.Members = append(c.Members, statement.CharterMember{Name: m, Standing: statement.GoodStanding,
			Statement: testKey(t, m+"/statement").Public, Recovery: testKey(t, m+"/recovery").Public, Card: hashOf("card of " + m)})
	}
	return c
}

// amendments are one of each change.
func amendments(t testing.TB) []statement.Amendment {
	t.Helper()
	base := statement.Amendment{Alliance: hashOf("charter"), Version: 2, Previous: hashOf("charter"), Created: noon, AdoptBy: noon.AddDate(0, 0, 7),
		Member: "charlie", SignedBy: []string{"alpha", "bravo"}}
	suspend, reinstate, leave, admit, settle := base, base, base, base, base
	suspend.Change, reinstate.Change = statement.Suspend, statement.Reinstate
	leave.Change, leave.SignedBy = statement.Leave, []string{"charlie"}
	admit.Change, admit.Member, admit.SignedBy = statement.Admit, "delta", []string{"alpha", "bravo", "delta"}
	admit.Statement, admit.Recovery, admit.Card = testKey(t, "delta/statement").Public, testKey(t, "delta/recovery").Public, hashOf("card of delta")
	settle.Change, settle.Member, settle.Version, settle.Forks = statement.Settle, "", 3, []statement.Hash{hashOf("fork b"), hashOf("fork a")}
	if settle.Forks[0].String() > settle.Forks[1].String() {
		slices.Reverse(settle.Forks)
	}
	return []statement.Amendment{suspend, reinstate, leave, admit, settle}
}

// cosigner is an Ed25519 verifier key of signature type 0x04, as outside witnesses publish them.
func cosigner(t testing.TB, name string) string {
	t.Helper()
	typed := append([]byte{4}, ed25519.NewKeyFromSeed(seed(name)).Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), typed...))
	return fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(typed))
}

// reconciliation is of two members that agree about one exchange, and not about three.
func reconciliation() statement.Reconciliation {
	leaf := func(member string, index int64, kind statement.EventKind, about string) statement.ReconciledLeaf {
		return statement.ReconciledLeaf{Manifest: hashOf(about), Member: member, Leaf: index, Kind: kind, ID: manifest().ID, At: noon.Add(-time.Hour)}
	}
	r := statement.Reconciliation{Parties: []string{"alpha", "bravo"}, Alliance: hashOf("charter"), Since: noon.AddDate(0, 0, -1), Until: noon, Created: noon,
		Sides: []statement.Side{
			{Member: "alpha", Log: "alpha/log/1", Size: 40, Root: hashOf("alpha's tree"), Leaves: 6, Matched: 2, Open: 1, Only: 2, Differing: 1},
			{Member: "bravo", Log: "bravo/log/2", Size: 30, Root: hashOf("bravo's tree"), Leaves: 2, Matched: 1, Differing: 1},
		},
		Open:      []statement.ReconciledLeaf{leaf("alpha", 39, statement.EventReleased, "under way")},
		Only:      []statement.ReconciledLeaf{leaf("alpha", 20, statement.EventReleased, "hidden"), leaf("alpha", 22, statement.EventDelivered, "hidden")},
		Differing: []statement.ReconciledLeaf{leaf("alpha", 31, statement.EventExpired, "withheld"), leaf("bravo", 17, statement.EventReceived, "withheld")},
	}
	return r
}

func statementKeys(members ...string) []string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m + "/statement"
	}
	return names
}

// draft gives the text of terms.
func draft[T statement.Terms](t testing.TB, terms T) string {
	t.Helper()
	raw, err := statement.Draft(terms)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(raw), "\n")
}

// signText signs any text, also one that no statement may have.
func signText(t testing.TB, text string, names ...string) string {
	t.Helper()
	lines := make([]string, len(names))
	for i, n := range slices.Sorted(slices.Values(names)) {
		lines[i] = signatureLine(t, testKey(t, n), text)
	}
	return text + "\n" + strings.Join(lines, "")
}

func signatureLine(t testing.TB, k *statement.Key, text string) string {
	t.Helper()
	sig, err := k.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	h := k.KeyHash()
	b := append([]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}, sig...)
	return "— " + k.Name() + " " + base64.StdEncoding.EncodeToString(b) + "\n"
}

func public(t testing.TB, names ...string) []string {
	t.Helper()
	keys := make([]string, len(names))
	for i, n := range names {
		keys[i] = testKey(t, n).Public
	}
	return keys
}

func known(t testing.TB, vkeys ...string) note.Verifiers {
	t.Helper()
	list := make([]note.Verifier, len(vkeys))
	for i, k := range vkeys {
		v, err := note.NewVerifier(k)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = v
	}
	return note.VerifierList(list...)
}
