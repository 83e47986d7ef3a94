package node_test

import (
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

func (w *world) rehearse(who string, sub *ententev1.Submission, everybody bool) *ententev1.RehearseSendResponse {
	w.t.Helper()
	out, err := w.as("alpha", who).Node().RehearseSend(w.t.Context(), &ententev1.RehearseSendRequest{Submission: sub, Everybody: everybody})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// said makes one line of a rehearsal: what the sender's own rules say, and each recipient.
func said(r *ententev1.RehearseSendResponse) string {
	rules := func(list []*ententev1.Reason) string {
		var names []string
		for _, r := range list {
			names = append(names, r.GetSet()+"/"+r.GetRule())
		}
		return strings.Join(names, ",")
	}
	line := "no: " + rules(r.GetReasons()) + "; waits: " + rules(r.GetWaits())
	for _, to := range r.GetRecipients() {
		line += "; " + to.GetMember() + " " + to.GetAnswer()
		if len(to.GetReasons()) > 0 {
			line += " " + rules(to.GetReasons())
		}
	}
	return line
}

// A rehearsal tells who would take a document, and moves none.
func TestRehearse(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie", "delta")
	w.agree(statement.Agreement{Name: "three", Parties: []string{"alpha", "bravo", "charlie"}})
	w.agree(statement.Agreement{Name: secret, Parties: []string{"alpha", "bravo"}, ApprovalAbove: "TLP:GREEN"})
	w.add("alpha", "rita", "reader")
	w.start("alpha", "bravo", "charlie", "delta")
	sub := func(agreement string, to ...string) *ententev1.Submission {
		s := submission(to...)
		s.Agreement = agreement
		return s
	}
	red := sub("three", "bravo", "charlie")
	red.Label = "TLP:RED"
	for name, c := range map[string]struct {
		who       string
		sub       *ententev1.Submission
		everybody bool
		want      string
	}{
		"would go":                   {"alice", sub("three", "bravo", "charlie"), false, "no: ; waits: ; bravo accepts; charlie accepts"},
		"above the ceiling":          {"alice", red, false, "no: base/label-ceiling; waits: ; bravo refuses base/label-ceiling; charlie refuses base/label-ceiling"},
		"to one who is no party":     {"alice", sub("three", "bravo", "delta"), false, "no: base/recipients-party; waits: ; bravo refuses base/recipients-party; delta refuses base/recipients-party"},
		"waits":                      {"alice", sub(secret, "bravo"), false, "no: ; waits: base/two-keys; bravo accepts"},
		"everybody":                  {"alice", sub("three", "alpha"), true, "no: ; waits: ; bravo accepts; charlie accepts; delta refuses base/recipients-party"},
		"everybody, above":           {"alice", func() *ententev1.Submission { s := sub("three", "alpha"); s.Label = "TLP:RED"; return s }(), true, "no: base/label-ceiling; waits: ; bravo refuses base/label-ceiling; charlie refuses base/label-ceiling; delta refuses base/recipients-party"},
		"everybody, waits":           {"alice", sub(secret, "alpha"), true, "no: ; waits: base/two-keys; bravo accepts; charlie refuses base/recipients-party; delta refuses base/recipients-party"},
		"by somebody without a role": {"rita", sub("three", "bravo"), false, "no: base/role-releaser; waits: ; bravo silent"},
	} {
		if got := said(w.rehearse(c.who, c.sub, c.everybody)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	if n := w.leavesOf("delta")[statement.EventRehearsed]; n != 0 {
		t.Errorf("delta was asked %d times", n)
	}
	if n := w.leavesOf("bravo")[statement.EventRehearsed]; n != 7 {
		t.Errorf("bravo wrote down %d questions", n)
	}
	for _, m := range []string{"alpha", "bravo", "charlie"} {
		if n := w.leavesOf(m); n[statement.EventReleased]+n[statement.EventReceived]+n[statement.EventRefused]+n[statement.EventDenied]+n[statement.EventWaiting] != 0 || len(w.files(m, "blobs")) != 0 {
			t.Errorf("%s: leaves %v, blobs %v", m, n, w.files(m, "blobs"))
		}
	}
	w.stop("charlie")
	r := w.rehearse("alice", sub("three", "bravo", "charlie"), false)
	if got := said(r); got != "no: ; waits: ; bravo accepts; charlie silent" || r.GetRecipients()[1].GetError() == "" {
		t.Errorf("charlie is off: %s", got)
	}
}

// What a recipient knows better than the sender shows in a rehearsal: here what time it is there.
func TestRehearseAsksTheOtherSide(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	if err := w.SetClock("bravo", 20*time.Hour); err != nil {
		t.Fatal(err)
	}
	soon := submission("bravo")
	soon.DeliverSeconds = 60
	r := w.rehearse("alice", soon, false)
	if got := said(r); !strings.HasPrefix(got, "no: ; waits: ; bravo refuses base/") {
		t.Errorf("bravo's clock is ahead: %s", got)
	}
}

// rehearsal is a question of a member about harbour-watch.
func (w *world) rehearsal(edit func(*ententev1.RehearseRequest)) *ententev1.RehearseRequest {
	now := time.Now().UTC().Truncate(time.Second)
	charter := w.history.Newest()
	r := &ententev1.RehearseRequest{To: []string{"bravo"}, CharterSha256: charter[:], Agreement: w.agreement.Terms.Name, AgreementSha256: w.agreement.Hash[:],
		Purpose: "incident-response", Label: "TLP:AMBER", Created: now.UnixMicro(), DeliverBy: now.Add(time.Hour).UnixMicro(), RetainUntil: now.Add(48 * time.Hour).UnixMicro(),
		ReleasedBy: "spiffe://alpha/person/alice"}
	if edit != nil {
		edit(r)
	}
	return r
}

// Only parties are answered, and only what a manifest could say; to the others an agreement is not there.
func TestRehearseStrangers(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.agreement = w.agree(statement.Agreement{Name: "two", Parties: []string{"alpha", "bravo"}})
	w.start("bravo")
	alpha, charlie := w.peer("alpha", "bravo"), w.peer("charlie", "bravo")
	ask := func(p *peer, edit func(*ententev1.RehearseRequest)) error {
		_, err := p.conn.Rehearse(t.Context(), w.rehearsal(edit))
		return err
	}
	if err := ask(alpha, nil); err != nil {
		t.Errorf("a party: %v", err)
	}
	known := ask(charlie, func(r *ententev1.RehearseRequest) { r.ReleasedBy = "spiffe://charlie/person/carol" })
	unknown := ask(charlie, func(r *ententev1.RehearseRequest) {
		r.ReleasedBy, r.AgreementSha256 = "spiffe://charlie/person/carol", make([]byte, 32)
	})
	if fault.KindOf(known) != fault.NotFound || unknown == nil || known.Error() != unknown.Error() {
		t.Errorf("an agreement that is not the caller's: %v; one that is not there: %v", known, unknown)
	}
	for name, edit := range map[string]func(*ententev1.RehearseRequest){
		"a part of a second":      func(r *ententev1.RehearseRequest) { r.Created++ },
		"the year 9999":           func(r *ententev1.RehearseRequest) { r.RetainUntil = 253402300799000000 },
		"ends before it begins":   func(r *ententev1.RehearseRequest) { r.DeliverBy = r.Created - 1e6 },
		"itself a recipient":      func(r *ententev1.RehearseRequest) { r.To = []string{"alpha", "bravo"} },
		"a recipient twice":       func(r *ententev1.RehearseRequest) { r.To = []string{"bravo", "bravo"} },
		"another's person":        func(r *ententev1.RehearseRequest) { r.ReleasedBy = "spiffe://bravo/person/bob" },
		"an invisible character":  func(r *ententev1.RehearseRequest) { r.Label = "TLP:AM\u200bBER" },
		"a line feed in a name":   func(r *ententev1.RehearseRequest) { r.Purpose = "incident\nresponse" },
		"65 recipients":           func(r *ententev1.RehearseRequest) { r.To = strings.Fields(strings.Repeat("bravo ", 65)) },
		"a short hash":            func(r *ententev1.RehearseRequest) { r.CharterSha256 = r.CharterSha256[1:] },
		"a name in upper case":    func(r *ententev1.RehearseRequest) { r.Agreement = "Two" },
		"a time before all times": func(r *ententev1.RehearseRequest) { r.Created = 0 },
	} {
		if err := ask(alpha, edit); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := w.leavesOf("bravo")[statement.EventRehearsed]; n != 1 {
		t.Errorf("bravo wrote down %d questions", n)
	}
}

// Each question is a leaf, so a member may ask so often in a minute and no more.
func TestRehearsalsBounded(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	refused := 0
	for range 3 * limit.Rehearsals {
		if _, err := alpha.conn.Rehearse(t.Context(), w.rehearsal(nil)); fault.KindOf(err) == fault.Transient {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n := w.leavesOf("bravo")[statement.EventRehearsed]; n > 2*limit.Rehearsals || n+refused != 3*limit.Rehearsals || refused == 0 {
		t.Errorf("%d leaves, %d refused", n, refused)
	}
}
