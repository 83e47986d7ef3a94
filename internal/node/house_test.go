package node_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// setHouse replaces one file of a member's own rules, beside its node; an empty text takes it away.
func (w *world) setHouse(m, file, text string) {
	w.t.Helper()
	path := filepath.Join(w.Home(m), node.HouseDir, file)
	var err error
	if text == "" {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

const permitAll = `@id("all") @reason("all") permit (principal, action, resource);` + "\n"

// What a member's own rules say holds at once, at every stage, and stays at home: the other side learns that they said no.
func TestHouseRules(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	alice, bob := w.person("alpha"), w.person("bravo")
	sends := func() ([]string, error) {
		out, err := alice.Send(t.Context(), submission("bravo"), strings.NewReader("a document"))
		return out.GetExchanges(), err
	}
	refusal := func(err error, rule, text string) {
		t.Helper()
		wantFault(t, err, fault.Refused, "policy refuses to")
		if f := err.(*fault.Error); len(f.Reasons) != 1 || f.Reasons[0].Set != "house" || f.Reasons[0].Rule != rule || !strings.Contains(f.Reasons[0].Text, text) { //nolint:errorlint // the client gives it as it is
			t.Errorf("reasons %+v", f.Reasons)
		}
	}
	const no = permitAll + `@id("not-on-sundays") @reason("never on a Sunday, %s") @needs("another day")
		forbid (principal, action == Action::"STAGE", resource) when { resource.purpose == "incident-response" };`
	at := func(stage string) string { return strings.ReplaceAll(no, "STAGE", stage) }

	w.setHouse("alpha", "house.cedar", at("release"))
	_, err := sends()
	refusal(err, "not-on-sundays", "never on a Sunday, %s (resource.purpose is incident-response)")
	before := w.state("alpha")
	if last := before.leaves[len(before.leaves)-1]; last.Kind != statement.EventDenied || !slices.Equal(last.Rules, []string{"house/house-rules"}) || last.Private["house"] == "" {
		t.Errorf("leaf %+v", last)
	}
	w.setHouse("alpha", "house.cedar", "// no rule\n")
	_, err = sends()
	refusal(err, "nothing-permits", "no house rule of alpha permits anything at the stage release")
	w.setHouse("alpha", "house.cedar", "")
	_, err = sends()
	refusal(err, "nothing-permits", "no house rule of alpha")

	// A second file counts as well, and a broken one denies, with its name and the line, and changes nothing.
	w.setHouse("alpha", "one.cedar", permitAll)
	refs, err := sends()
	if err != nil {
		t.Fatal(err)
	}
	w.await("alpha", refs[0], "delivered")
	w.setHouse("alpha", "two.cedar", "\npermit everything;\n")
	before = w.state("alpha")
	_, err = sends()
	wantFault(t, err, fault.Failed, "policy/two.cedar, line 2: it is not Cedar")
	if after := w.state("alpha"); len(after.leaves) != len(before.leaves) || len(after.blobs) != len(before.blobs) {
		t.Error("something changed")
	}
	w.setHouse("alpha", "two.cedar", "")

	// The recipient's rules: alpha learns that they said no, and no word of them.
	w.setHouse("bravo", "house.cedar", at("accept"))
	refs, err = sends()
	if err != nil {
		t.Fatal(err)
	}
	x := w.await("alpha", refs[0], "refused")
	shown, err := alice.Node().Show(t.Context(), &ententev1.ShowRequest{Exchange: x.GetRef()})
	if err != nil {
		t.Fatal(err)
	}
	if text := shown.String(); strings.Contains(text, "Sunday") || !strings.Contains(text, "the rules of bravo itself do not permit it") {
		t.Errorf("alpha is shown %s", text)
	}
	// Broken rules of the recipient are nobody's refusal: it is tried again, and arrives when they are corrected.
	w.setHouse("bravo", "house.cedar", "permit;")
	refs, err = sends()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	trouble := ""
	if _, err := alice.Await(ctx, refs[0], func(x *ententev1.Exchange) bool {
		trouble = x.GetLastError()
		return strings.Contains(trouble, "bravo cannot decide about documents at present")
	}); err != nil {
		t.Fatalf("%v, %q", err, trouble)
	}
	w.setHouse("bravo", "house.cedar", at("open"))
	w.await("alpha", refs[0], "delivered")
	if got, err := open(t.Context(), bob, refs[0]); err == nil || len(got) != 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	} else {
		refusal(err, "not-on-sundays", "never on a Sunday")
	}
	w.setHouse("bravo", "house.cedar", permitAll)
	if _, err := open(t.Context(), bob, refs[0]); err != nil {
		t.Error(err)
	}
	// In the end every decision is made again, by the rules of then: see found.
}

// The policy of an agreement is signed by all, and decides at every party's.
func TestAgreementPolicy(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	terms := statement.Agreement{Name: "exercise-only", Parties: []string{"alpha", "bravo"}, Policy: `@id("text-only")
@reason("only the ids of exercises may travel")
permit (principal, action, resource) when { resource.id like "0*" };

@id("no-bob")
@reason("{to} does not take part on this day")
@needs("another day")
forbid (principal, action == Action::"accept", resource);
`}
	w.agree(terms)
	w.start("alpha", "bravo")
	sub := submission("bravo")
	sub.Agreement = "exercise-only"
	ref := w.send("alpha", sub, []byte("a document"))[0]
	w.await("alpha", ref, "refused")
	shown, err := w.person("alpha").Node().Show(t.Context(), &ententev1.ShowRequest{Exchange: ref})
	if err != nil || !strings.Contains(shown.String(), "bravo does not take part on this day") || !strings.Contains(shown.String(), "another day") {
		t.Errorf("%v, %v", shown, err)
	}
	leaves := w.state("alpha").leaves
	if last := leaves[len(leaves)-1]; !slices.Equal(last.Rules, []string{"agreement/no-bob"}) {
		t.Errorf("leaf %+v", last)
	}

	for name, policy := range map[string]string{"unknown attribute": "\n" + strings.Replace(permitAll, ";", " when { resource.colour == \"red\" };", 1), "no permit": strings.Replace(permitAll, "permit", `@needs("n") forbid`, 1)} {
		terms.Name, terms.Policy = "broken", policy
		terms.Purposes, terms.Ceiling, terms.RetainDays = []string{"incident-response"}, "TLP:AMBER", 90
		if _, err := w.Agree(t.Context(), terms); err == nil || !strings.Contains(err.Error(), "the agreement's policy") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where documents are kept is a fact that rules can ask for: the store's jurisdiction, or else the member's own.
func TestStoreJurisdiction(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.setHouse("bravo", "house.cedar", permitAll+`@id("kept-here") @reason("it would be kept in {store_in}") @needs("a store in NL")
		forbid (principal, action == Action::"accept", resource) unless { context.jurisdictions.store == "NL" };`)
	w.start("alpha")
	for _, c := range []struct{ store, own, state string }{
		{"US", "NL", "refused"}, {"NL", "US", "delivered"}, {"", "NL", "delivered"}, {"", "", "refused"},
	} {
		w.configure("bravo", `store_jurisdiction = "`+c.store+`"`, `jurisdiction = "`+c.own+`"`)
		w.start("bravo")
		w.await("alpha", w.send("alpha", submission("bravo"), []byte("a document"))[0], c.state)
		w.stop("bravo")
	}
	w.configure("bravo", `store_jurisdiction = "Holland"`)
	if err := w.Start(t.Context(), "bravo"); err == nil || !strings.Contains(err.Error(), "store_jurisdiction: ") {
		t.Errorf("a store in Holland: %v", err)
	}
	w.configure("bravo", `store_jurisdiction = "NL"`)
}
