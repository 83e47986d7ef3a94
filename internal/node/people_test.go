package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// setPeople replaces a member's people.toml, beside its node.
func (w *world) setPeople(m, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.Home(m), node.PeopleFile), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func entry(name string, roles string) string {
	return "[[person]]\nname = \"" + name + "\"\nroles = [" + roles + "]\nlabels = [\"TLP:RED\"]\ntrained_until = 2999-12-31\n"
}

// A certificate entitles to nothing; an entry in people.toml does, and what it says holds at once, also on connections
// that are open.
func TestRoles(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	alice, bob := w.person("alpha"), w.person("bravo")
	ref := w.send("alpha", submission("bravo"), []byte("a document"))[0]
	w.await("alpha", ref, "delivered")
	sends := func() error {
		_, err := alice.Send(t.Context(), submission("bravo"), strings.NewReader("another"))
		return err
	}
	opens := func() error {
		got, err := open(t.Context(), bob, ref)
		if err != nil && len(got) != 0 {
			t.Errorf("%d bytes were released", len(got))
		}
		return err
	}
	lists := func() error {
		_, err := alice.Node().List(t.Context(), &ententev1.ListRequest{Direction: ententev1.Direction_DIRECTION_OUT})
		return err
	}
	shows := func() error {
		_, err := bob.Node().Show(t.Context(), &ententev1.ShowRequest{Exchange: ref})
		return err
	}
	for _, c := range []struct {
		name           string
		alphas, bravos string
		do             func() error
		kind           fault.Kind
		text           string
		rule           string // of the reason, and of a leaf `denied`
	}{
		{"no entry, send", entry("zoe", `"releaser"`), "", sends, fault.Forbidden, "alice has no entry in people.toml", ""},
		{"no entry, list", "", "", lists, fault.Forbidden, "alice has no entry in people.toml", ""},
		{"no entry, open", "", "", opens, fault.Forbidden, "bob has no entry in people.toml", ""},
		{"no entry, show", "", "", shows, fault.Forbidden, "bob has no entry in people.toml", ""},
		{"no role, send", entry("alice", ""), "", sends, fault.Refused, "policy refuses to release", "role-releaser"},
		{"no role, open", "", entry("bob", ""), opens, fault.Refused, "policy refuses to open", "role-reader"},
		{"other roles, send", entry("alice", `"reader", "approver", "signer", "auditor", "admin"`), "", sends, fault.Refused, "policy refuses to release", "role-releaser"},
		{"other roles, open", "", entry("bob", `"releaser", "approver", "signer", "auditor", "admin"`), opens, fault.Refused, "policy refuses to open", "role-reader"},
		{"an unknown role", entry("alice", `"releaser", "root"`), "", sends, fault.Misused, `"root" is not a role`, ""},
		{"listed twice", entry("alice", `"releaser"`) + entry("alice", `"releaser"`), "", sends, fault.Misused, "alice is listed twice", ""},
		{"an unknown field", entry("alice", `"releaser"`) + "password = \"x\"\n", "", sends, fault.Misused, "people.toml", ""},
		{"no TOML", "alice = releaser", "", sends, fault.Misused, "people.toml", ""},
		{"a name with a control character", entry(`al\u0007ice`, `"releaser"`), "", sends, fault.Misused, "person name", ""},
		{"a name with a bidi character", entry("al\u202eice", `"releaser"`), "", sends, fault.Misused, "person name", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.setPeople("alpha", c.alphas)
			w.setPeople("bravo", c.bravos)
			m := "alpha"
			if strings.HasSuffix(c.name, "open") || strings.HasSuffix(c.name, "show") {
				m = "bravo"
			}
			before := w.state(m)
			err := c.do()
			wantFault(t, err, c.kind, c.text)
			after := w.state(m)
			want := ""
			if c.rule != "" {
				want = "denied"
				f := err.(*fault.Error) //nolint:errorlint // the client gives it as it is
				if len(f.Reasons) != 1 || f.Reasons[0].Rule != c.rule {
					t.Errorf("reasons %+v", f.Reasons)
				}
			}
			if got := after.kinds(len(before.leaves)); got != want || len(after.exchanges) != len(before.exchanges) || len(after.blobs) != len(before.blobs) {
				t.Errorf("leaves %q, exchanges %v, blobs %v", got, after.exchanges, after.blobs)
			}
		})
	}
	w.setPeople("alpha", entry("alice", `"releaser"`))
	w.setPeople("bravo", entry("bob", `"reader"`))
	for name, do := range map[string]func() error{"send": sends, "open": opens, "list": lists, "show": shows} {
		if err := do(); err != nil {
			t.Errorf("%s with the role: %v", name, err)
		}
	}
}

// Who is listed gets a new certificate as often as asked for, and keeps the roles.
func TestRenewPerson(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha")
	h, err := node.OpenHome(t.Context(), w.Home("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	people := func() string {
		b, err := os.ReadFile(filepath.Join(w.Home("alpha"), node.PeopleFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := people()
	ago := time.Now().AddDate(-2, 0, 0)
	for name, c := range map[string]struct {
		person string
		roles  []string
		kind   fault.Kind
		text   string
	}{
		"other roles":   {"alice", []string{"releaser"}, fault.Conflict, "alice is listed already, with other roles"},
		"more roles":    {"alice", []string{"releaser", "reader", "admin"}, fault.Conflict, "alice is listed already, with other roles"},
		"no such role":  {"alice", []string{"king"}, fault.Misused, `"king" is not a role`},
		"new, no roles": {"zoe", nil, fault.Misused, "no role given"},
	} {
		t.Run(name, func(t *testing.T) {
			wantFault(t, h.AddPerson(t.Context(), ago, node.Person{Name: c.person, Roles: c.roles}), c.kind, c.text)
		})
	}
	w.send("alpha", submission("bravo"), []byte("with the certificate of then"))
	for _, roles := range [][]string{nil, {"reader", "releaser", "reader"}} {
		if err := h.AddPerson(t.Context(), ago, node.Person{Name: "alice", Roles: roles}); err != nil {
			t.Fatal(err)
		}
		list, err := h.People()
		if err != nil || len(list) != 1 || list[0].CertificateEnds.After(time.Now()) {
			t.Fatalf("people %v, %v", list, err)
		}
		if err := h.AddPerson(t.Context(), time.Now(), node.Person{Name: "alice", Roles: roles}); err != nil {
			t.Fatal(err)
		}
		w.send("alpha", submission("bravo"), []byte("with a new one"))
	}
	if after := people(); after != before {
		t.Errorf("%s is now:\n%s", node.PeopleFile, after)
	}
}

// A person is nobody on the peer port, and a node is nobody's person on the node port.
func TestWrongPort(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("bravo")
	cert, err := identity.LoadPerson(w.Home("alpha"), "alpha", "alice")
	if err != nil {
		t.Fatal(err)
	}
	before := w.state("bravo")
	c := w.config("alpha")
	c.Cert = cert
	m, _ := w.history.Member("bravo")
	conn, err := rpc.DialPeer(m, c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &peer{w, "alpha", "bravo", ententev1.NewPeerServiceClient(conn)}
	if _, err := p.deliver(t.Context(), w.document("alpha", []string{"bravo"}, "a document")); err == nil {
		t.Error("a person delivered")
	}
	if _, err := p.conn.Return(t.Context(), &ententev1.ReturnRequest{Receipt: []byte("x")}); err == nil {
		t.Error("a person returned")
	}
	if after := w.state("bravo"); len(after.leaves) != len(before.leaves) {
		t.Errorf("leaves %q", after.kinds(len(before.leaves)))
	}
}

// What a person gets wrong in a submission is named, with what there is instead, and changes nothing.
func TestSubmissions(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.agree(statement.Agreement{Name: "two-only", Parties: []string{"alpha", "bravo"}})
	w.agree(statement.Agreement{Name: "later", Parties: []string{"alpha", "bravo"}, NotBefore: time.Now().Add(time.Hour)})
	w.agree(statement.Agreement{Name: "earlier", Parties: []string{"alpha", "bravo"}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().Add(-time.Second)})
	w.start("alpha")
	alice := w.person("alpha")
	for name, c := range map[string]struct {
		edit func(*ententev1.Submission)
		kind fault.Kind
		text string // of the sentence, or of the reason
		rule string
	}{
		"unknown recipient":   {func(s *ententev1.Submission) { s.To = []string{"delta"} }, fault.Misused, `no member "delta"`, ""},
		"itself":              {func(s *ententev1.Submission) { s.To = []string{"alpha"} }, fault.Misused, "among the recipients", ""},
		"recipient forged":    {func(s *ententev1.Submission) { s.To = []string{"bra\u202evo"} }, fault.Misused, "no member", ""},
		"unknown agreement":   {func(s *ententev1.Submission) { s.Agreement = "none" }, fault.Misused, `no agreement "none"`, ""},
		"no party":            {func(s *ententev1.Submission) { s.Agreement, s.To = "two-only", []string{"charlie"} }, fault.Refused, "charlie", "recipients-party"},
		"not yet in force":    {func(s *ententev1.Submission) { s.Agreement = "later" }, fault.Refused, "later", "agreement-begun"},
		"no longer in force":  {func(s *ententev1.Submission) { s.Agreement = "earlier" }, fault.Refused, "earlier", "agreement-ended"},
		"unknown purpose":     {func(s *ententev1.Submission) { s.Purpose = "curiosity" }, fault.Refused, "curiosity", "purpose-listed"},
		"purpose of no form":  {func(s *ententev1.Submission) { s.Purpose = "Incident Response" }, fault.Misused, "purpose", ""},
		"unknown label":       {func(s *ententev1.Submission) { s.Label = "SECRET" }, fault.Refused, "SECRET", "label-known"},
		"label too high":      {func(s *ententev1.Submission) { s.Label = "TLP:RED" }, fault.Refused, "TLP:RED", "label-ceiling"},
		"no label":            {func(s *ententev1.Submission) { s.Label = "" }, fault.Invalid, "submission.label", ""},
		"label of no form":    {func(s *ententev1.Submission) { s.Label = "TLP:\x1b[31mRED" }, fault.Misused, "label", ""},
		"retained too long":   {func(s *ententev1.Submission) { s.RetainDays = 92 }, fault.Refused, "90 days", "retention-maximum"},
		"id of no form":       {func(s *ententev1.Submission) { s.Id = strings.ToLower(s.Id) }, fault.Misused, "ULID", ""},
		"file name with path": {func(s *ententev1.Submission) { s.FileName = "../report.txt" }, fault.Misused, "send:", ""},
		"file name with bidi": {func(s *ententev1.Submission) { s.FileName = "report\u202etxt.exe" }, fault.Misused, "send:", ""},
		"file name with bell": {func(s *ententev1.Submission) { s.FileName = "report\a.txt" }, fault.Misused, "send:", ""},
	} {
		t.Run(name, func(t *testing.T) {
			sub := submission("bravo")
			c.edit(sub)
			before := w.state("alpha")
			_, err := alice.Send(t.Context(), sub, strings.NewReader("a document"))
			after := w.state("alpha")
			want := ""
			if c.rule == "" {
				wantFault(t, err, c.kind, c.text)
			} else {
				want = "denied"
				wantFault(t, err, c.kind, "policy refuses to release")
				if f := err.(*fault.Error); len(f.Reasons) == 0 || f.Reasons[0].Rule != c.rule || !strings.Contains(f.Reasons[0].Text, c.text) { //nolint:errorlint // the client gives it as it is
					t.Errorf("reasons %+v", f.Reasons)
				}
			}
			if got := after.kinds(len(before.leaves)); got != want || len(after.exchanges)+len(after.blobs)+len(after.staging) != 0 {
				t.Errorf("leaves %q, exchanges %v, blobs %v, staging %v", got, after.exchanges, after.blobs, after.staging)
			}
		})
	}
}

// Whoever wrote the list in another style must not lose it, nor everybody's roles, to an entry that does not fit.
func TestAddPersonToAnotherStyle(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	text := "person = [{name = \"alice\", roles = [\"reader\"]}]\n"
	w.setPeople("alpha", text)
	h, err := w.Open(t.Context(), "alpha")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	wantFault(t, h.AddPerson(t.Context(), time.Now(), node.Persona{Name: "zoe", Roles: []string{"reader"}}.Person(time.Now())), fault.Misused, "cannot be added to people.toml")
	got, err := os.ReadFile(filepath.Join(w.Home("alpha"), node.PeopleFile))
	if err != nil || string(got) != text {
		t.Errorf("people.toml became %q, %v", got, err)
	}
	w.setPeople("alpha", "[[person]]\nname = \"alice\"\nrole = [\"reader\"]\n")
	_, err = h.People()
	wantFault(t, err, fault.Misused, "line 3: there is no field")
}

// Who is taken out loses everything and nobody else anything, whatever stands around the entry.
func TestRemovePerson(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	h, err := w.Open(t.Context(), "alpha")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	const head = "# Who works here.\n"
	alice, bob, carol := "\n"+entry("alice", `"reader"`), "\n# bob is new\n"+entry("bob", `"reader"`), "\n  [[person]] # last\nname = 'carol'\nroles = [\n  \"signer\",\n]\n"
	for name, want := range map[string]string{"alice": head + bob + carol, "bob": head + alice + "\n# bob is new\n" + carol, "carol": head + alice + bob} {
		w.setPeople("alpha", head+alice+bob+carol)
		if err := h.RemovePerson(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(w.Home("alpha"), node.PeopleFile))
		if err != nil || strings.ReplaceAll(string(got), "\n\n", "\n") != strings.ReplaceAll(want, "\n\n", "\n") {
			t.Errorf("without %s:\n%s", name, got)
		}
		wantFault(t, h.RemovePerson(t.Context(), name), fault.NotFound, "is not listed")
	}
	w.setPeople("alpha", "person = [{name = \"alice\"}, {name = \"bob\"}]\n")
	wantFault(t, h.RemovePerson(t.Context(), "alice"), fault.Misused, "cannot be taken out of people.toml")
	w.setPeople("alpha", entry("alice", `"reader"`))
	if err := h.RemovePerson(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if list, err := h.People(); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	if err := h.AddPerson(t.Context(), time.Now(), node.Persona{Name: "alice", Roles: []string{"reader"}}.Person(time.Now())); err != nil {
		t.Errorf("add again: %v", err)
	}
}

// What people.toml says about labels and training is read strictly, and whoever mistypes it is told what and where.
func TestLabelsAndTrainingOfPeople(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	h, err := w.Open(t.Context(), "alpha")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	const alice = "[[person]]\nname = \"alice\"\nroles = [\"reader\"]\n"
	end := time.Date(2027, 11, 23, 23, 59, 59, 0, time.UTC)
	for text, want := range map[string]time.Time{"trained_until = 2027-11-23": end, `trained_until = "2027-11-23"`: end, "": {}} {
		w.setPeople("alpha", alice+text+"\nlabels = [\"TLP:AMBER\", \"NAVY:SECRET/CRYPTO\"]\n")
		if list, err := h.People(); err != nil || !list[0].TrainedUntil.Equal(want) || len(list[0].Labels) != 2 {
			t.Errorf("%s: %+v, %v", text, list, err)
		}
	}
	for text, why := range map[string]string{
		"trained_until = 2027-11-23T00:00:00Z": "alice: trained_until is not a day",
		"trained_until = 2027":                 "alice: trained_until is not a day",
		`trained_until = ""`:                   "alice: trained_until is not a day",
		`trained_until = "23.11.2027"`:         "alice: trained_until is not a day",
		"trained_until = 9999-12-31":           "not in the years 2000 to 2999",
		"trained_until = 2027-02-30":           "people.toml",
		`labels = "TLP:RED"`:                   "people.toml",
		`labels = ["TLP:WHITE"]`:               `no level "WHITE"`,
		`labels = ["tlp:red", "TLP:Red"]`:      `no level "Red"`,
		`labels = ["TLP:RED", "TLP:AMBER"]`:    "two labels of the scheme TLP",
		"labels = [\"NAVY:SEC\u200bRET\"]":     "printable ASCII",
		`label = ["TLP:RED"]`:                  "there is no field",
	} {
		w.setPeople("alpha", alice+text+"\n")
		_, err := h.People()
		wantFault(t, err, fault.Misused, why)
	}
	if err := os.Mkdir(filepath.Join(w.Home("alpha"), node.SchemesDir), 0o700); err != nil {
		t.Fatal(err)
	}
	scheme := filepath.Join(w.Home("alpha"), node.SchemesDir, "navy.toml")
	if err := os.WriteFile(scheme, []byte("name = \"NAVY\"\nlevels = [\"OPEN\", \"SECRET\"]\nrestrictive = [\"CRYPTO\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.setPeople("alpha", "")
	add := func(label string) error {
		return h.AddPerson(t.Context(), time.Now(), node.Person{Name: "zoe", Roles: []string{"reader"}, Labels: []string{label}, TrainedUntil: end})
	}
	wantFault(t, add("NAVY:SECRE"), fault.Misused, `label scheme NAVY has no level "SECRE"`)
	wantFault(t, add("NAVY:SECRET/NUCLEAR"), fault.Misused, `no category "NUCLEAR"`)
	if err := add("NAVY:SECRET/CRYPTO"); err != nil {
		t.Error(err)
	}
}
