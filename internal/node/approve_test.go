package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// secret is an agreement under which a second person approves what is above TLP:GREEN.
const secret = "two-keys"

// twoKeys makes alpha and bravo with that agreement, where ann and adam of alpha may approve.
func twoKeys(t *testing.T) *world {
	t.Helper()
	w := found(t, "alpha", "bravo")
	w.agree(statement.Agreement{Name: secret, Parties: []string{"alpha", "bravo"}, ApprovalAbove: "TLP:GREEN"})
	for _, name := range []string{"ann", "adam"} {
		w.add("alpha", name, "approver")
	}
	return w
}

func (w *world) add(m, name string, roles ...string) {
	w.t.Helper()
	if err := w.AddPerson(w.t.Context(), m, name, roles...); err != nil {
		w.t.Fatal(err)
	}
}

func secretly(to ...string) *ententev1.Submission {
	sub := submission(to...)
	sub.Agreement = secret
	return sub
}

// hold has alice release something that waits then.
func (w *world) hold(sub *ententev1.Submission, doc string) *ententev1.SendResponse {
	w.t.Helper()
	out, err := w.person("alpha").Send(w.t.Context(), sub, strings.NewReader(doc))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(out.GetWaits()) == 0 || out.GetManifestSha256() != "" {
		w.t.Fatalf("it does not wait: %v", out)
	}
	return out
}

func approving(sub *ententev1.Submission) *ententev1.Approving {
	return &ententev1.Approving{Exchange: sub.GetId(), FileName: sub.GetFileName(), MediaType: sub.GetMediaType()}
}

func (w *world) approve(who string, sub *ententev1.Submission, doc string) (*ententev1.ApproveResponse, error) {
	w.t.Helper()
	return w.as("alpha", who).Approve(w.t.Context(), approving(sub), strings.NewReader(doc))
}

func (w *world) waiting(all bool) []*ententev1.WaitingRelease {
	w.t.Helper()
	out, err := w.person("alpha").Node().Approvals(w.t.Context(), &ententev1.ApprovalsRequest{All: all})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.GetReleases()
}

// leavesOf counts a member's leaves by kind.
func (w *world) leavesOf(m string) map[statement.EventKind]int {
	w.t.Helper()
	count := map[statement.EventKind]int{}
	err := w.reader(m).DB.View(w.t.Context(), func(v *store.View) error {
		for r, err := range v.LeafRows(0) {
			if err != nil {
				return err
			}
			l, err := statement.ParseLeaf(r.Body)
			if err != nil {
				return err
			}
			count[l.Kind]++
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return count
}

// Above the label that the agreement names, a release waits for a second person, sealed, and goes out with both names.
func TestTwoKeys(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.start("alpha", "bravo")
	ctx := t.Context()

	open1 := secretly("bravo")
	open1.Label = "TLP:GREEN"
	w.await("alpha", w.send("alpha", open1, []byte("open"))[0], "delivered")

	sub := secretly("bravo")
	out := w.hold(sub, "the plan")
	ref := out.GetExchanges()[0]
	if r := out.GetWaits()[0]; r.GetRule() != "two-keys" || !strings.Contains(r.GetNeeds(), "approver") {
		t.Errorf("it waits because of %v", r)
	}
	if again := w.hold(sub, "the plan"); again.String() != out.String() {
		t.Errorf("asked again: %v, and first %v", again, out)
	}
	other := secretly("bravo")
	other.Id, other.Purpose = sub.Id, "exercise"
	if _, err := w.person("alpha").Send(ctx, other, strings.NewReader("x")); fault.KindOf(err) != fault.Conflict {
		t.Errorf("another sending under its id: %v", err)
	}
	if x := w.await("alpha", ref, "waiting"); !x.GetWaitsUntil().AsTime().Equal(out.GetWaitsUntil().AsTime()) || x.GetApprovedBy() != "" {
		t.Errorf("shown as %v", x)
	}
	list := w.waiting(false)
	if len(list) != 1 || list[0].GetId() != sub.Id || list[0].GetReleasedBy() != "spiffe://alpha/person/alice" || list[0].GetState() != "waiting" {
		t.Errorf("approvals: %v", list)
	}
	if n := len(w.exchangesOf("bravo", ententev1.Direction_DIRECTION_IN)); n != 1 {
		t.Errorf("bravo has %d documents", n)
	}

	done, err := w.approve("ann", sub, "the plan")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(w.state("alpha").blobs); n != 2 {
		t.Errorf("%d blobs, of which one must be the approved document and one the open one", n)
	}
	x := w.await("alpha", ref, "delivered")
	if x.GetApprovedBy() != "spiffe://alpha/person/ann" || x.GetManifestSha256() != done.GetManifestSha256() || !slices.Equal(done.GetExchanges(), out.GetExchanges()) {
		t.Errorf("delivered as %v, approved as %v", x, done)
	}
	shown, err := w.person("bravo").Node().Show(ctx, &ententev1.ShowRequest{Exchange: ref})
	if err != nil || !strings.Contains(string(shown.GetManifest()), "[approval]\nby = \"spiffe://alpha/person/ann\"") || shown.GetExchanges()[0].GetApprovedBy() == "" {
		t.Errorf("bravo sees %s, %v", shown.GetManifest(), err)
	}
	if got, err := open(ctx, w.person("bravo"), ref); err != nil || string(got) != "the plan" {
		t.Errorf("bravo opens %q, %v", got, err)
	}
	if again, err := w.approve("ann", sub, "anything"); err != nil || again.String() != done.String() {
		t.Errorf("approved again: %v, %v", again, err)
	}
	if _, err := w.approve("adam", sub, "the plan"); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), "person/ann") {
		t.Errorf("approved by somebody else as well: %v", err)
	}
	if sent, err := w.person("alpha").Send(ctx, sub, strings.NewReader("the plan")); err != nil || sent.GetManifestSha256() != done.GetManifestSha256() {
		t.Errorf("sent again after it was approved: %v, %v", sent, err)
	}
	if len(w.waiting(false)) != 0 || len(w.waiting(true)) != 1 || len(w.state("alpha").blobs) != 2 {
		t.Errorf("waiting %v, all %v, blobs %v", w.waiting(false), w.waiting(true), w.state("alpha").blobs)
	}
}

func (w *world) exchangesOf(m string, d ententev1.Direction) []*ententev1.Exchange {
	w.t.Helper()
	list, err := w.Exchanges(w.t.Context(), m, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// Nobody approves what they may not, or have not seen. The release goes on waiting, and nothing is sent.
func TestApprovalRefused(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.add("alpha", "both", "releaser", "approver")
	w.start("alpha")
	sub := secretly("bravo")
	sub.FileName = "plan.txt"
	out, err := w.as("alpha", "both").Send(t.Context(), sub, strings.NewReader("the plan"))
	if err != nil || len(out.GetWaits()) == 0 {
		t.Fatal(out, err)
	}
	good := approving(sub)
	for name, c := range map[string]struct {
		who, doc string
		what     *ententev1.Approving
		kind     fault.Kind
		says     string
	}{
		"one's own":                 {"both", "the plan", nil, fault.Refused, "not-your-own"},
		"without the role":          {"alice", "the plan", nil, fault.Refused, "role-approver"},
		"neither role nor document": {"alice", "the plaN", nil, fault.Refused, "role-approver"},
		"one byte changed":          {"ann", "the plaN", nil, fault.Invalid, "not the document"},
		"a byte more":               {"ann", "the plan\n", nil, fault.Invalid, "not the document"},
		"nothing":                   {"ann", "", nil, fault.Invalid, "not the document"},
		"another name":              {"ann", "the plan", &ententev1.Approving{FileName: "other.txt"}, fault.Invalid, `another name than "other.txt"`},
		"another type":              {"ann", "the plan", &ententev1.Approving{MediaType: "text/html"}, fault.Invalid, `another type than "text/html"`},
		"no such release":           {"ann", "the plan", &ententev1.Approving{Exchange: client.NewID()}, fault.NotFound, "no release"},
		"of another member":         {"ann", "the plan", &ententev1.Approving{Exchange: "bravo/" + sub.Id}, fault.NotFound, "no release"},
		"to another member":         {"ann", "the plan", &ententev1.Approving{Exchange: "alpha/" + sub.Id + "/charlie"}, fault.NotFound, "no release"},
		"a name that is none":       {"ann", "the plan", &ententev1.Approving{FileName: "../plan.txt"}, fault.Failed, "file name"},
	} {
		what := &ententev1.Approving{Exchange: good.Exchange, FileName: good.FileName, MediaType: good.MediaType}
		for to, from := range map[*string]string{&what.Exchange: c.what.GetExchange(), &what.FileName: c.what.GetFileName(), &what.MediaType: c.what.GetMediaType()} {
			if from != "" {
				*to = from
			}
		}
		_, err := w.as("alpha", c.who).Approve(t.Context(), what, strings.NewReader(c.doc))
		if fault.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err, reasonsIn(err)), c.says) {
			t.Errorf("%s: %v %v", name, err, reasonsIn(err))
		}
		if list := w.waiting(false); len(list) != 1 {
			t.Errorf("%s: waiting %v", name, list)
		}
	}
	if n := w.leavesOf("alpha"); n[statement.EventReleased] != 0 || n[statement.EventDenied] != 3 || n[statement.EventWaiting] != 1 {
		t.Errorf("leaves %v", n)
	}
	// Who approves may leave meanwhile, and so may who released.
	w.remove("alpha", "ann")
	if _, err := w.approve("ann", sub, "the plan"); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("an approver who left: %v", err)
	}
	w.remove("alpha", "both")
	if _, err := w.approve("adam", sub, "the plan"); fault.KindOf(err) != fault.Refused || !strings.Contains(reasonsIn(err), "role-releaser") {
		t.Errorf("a releaser who left: %v %v", err, reasonsIn(err))
	}
}

// Reading the copy may take long, and who approves is judged by what they may when it was read.
func TestApprovalByWhoLeftMeanwhile(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.start("alpha")
	sub := secretly("bravo")
	w.hold(sub, "the plan")
	stream, err := w.as("alpha", "ann").Node().Approve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []*ententev1.ApproveRequest{{Part: &ententev1.ApproveRequest_Approving{Approving: approving(sub)}}, {Part: &ententev1.ApproveRequest_Chunk{Chunk: []byte("the ")}}} {
		if err := stream.Send(part); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond) // until the node reads the copy
	path := filepath.Join(w.Home("alpha"), node.PeopleFile)
	people, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.ReplaceAll(people, []byte(`["approver"]`), []byte(`["reader"]`)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&ententev1.ApproveRequest{Part: &ententev1.ApproveRequest_Chunk{Chunk: []byte("plan")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CloseAndRecv(); fault.KindOf(err) != fault.Refused || !strings.Contains(reasonsIn(err), "role-approver") {
		t.Errorf("approved by somebody who may not any more: %v %v", err, reasonsIn(err))
	}
	if list := w.waiting(false); len(list) != 1 {
		t.Errorf("waiting %v", list)
	}
}

// reasonsIn lists the rules that an error names.
func reasonsIn(err error) string {
	var rules []string
	if f, ok := err.(*fault.Error); ok { //nolint:errorlint // the client gives exactly this
		for _, r := range f.Reasons {
			rules = append(rules, r.Set+"/"+r.Rule)
		}
	}
	return strings.Join(rules, " ")
}

// remove takes somebody out of people.toml.
func (w *world) remove(m, name string) {
	w.t.Helper()
	path := filepath.Join(w.Home(m), node.PeopleFile)
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	parts := strings.Split(string(b), "[[person]]")
	kept := slices.DeleteFunc(slices.Clone(parts), func(p string) bool { return strings.Contains(p, `name = "`+name+`"`) })
	if len(kept) != len(parts)-1 {
		w.t.Fatalf("%s is not listed once in:\n%s", name, b)
	}
	if err := os.WriteFile(path, []byte(strings.Join(kept, "[[person]]")), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// What was agreed may change while a release waits: then it is not sent under what was.
func TestApprovalUnderWhatIsAgreedNow(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.start("alpha", "bravo")
	sub := secretly("bravo")
	w.hold(sub, "the plan")
	before := w.reader("alpha")
	list, err := before.Agreements(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list, func(a node.Agreement) bool { return a.Terms.Name == secret })
	w.agree(statement.Agreement{Name: secret, Version: 2, Previous: list[at].Hash, Parties: []string{"alpha", "bravo"}, ApprovalAbove: "TLP:GREEN"})
	_, err = w.approve("ann", sub, "the plan")
	if fault.KindOf(err) != fault.Refused || !strings.Contains(reasonsIn(err), "agreement-superseded") {
		t.Errorf("after an amendment: %v %v", err, reasonsIn(err))
	}
	if list := w.waiting(false); len(list) != 1 {
		t.Errorf("waiting %v", list)
	}
}

// However many approve at once, and however often, there is one approval.
func TestApprovedAtOnce(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.start("alpha", "bravo")
	sub := secretly("bravo")
	ref := w.hold(sub, "the plan").GetExchanges()[0]
	people := []*client.Client{w.as("alpha", "ann"), w.as("alpha", "adam")}
	var wait sync.WaitGroup
	var mu sync.Mutex
	manifests := map[string]int{}
	for i := range 12 {
		wait.Go(func() {
			out, err := people[i%2].Approve(t.Context(), approving(sub), strings.NewReader("the plan"))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				manifests[out.GetManifestSha256()]++
			} else if k := fault.KindOf(err); k != fault.Conflict && k != fault.Transient {
				t.Errorf("approve at once: %v", err)
			}
		})
	}
	wait.Wait()
	if len(manifests) != 1 {
		t.Errorf("manifests %v", manifests)
	}
	w.await("alpha", ref, "delivered")
	if n := w.leavesOf("alpha"); n[statement.EventReleased] != 1 {
		t.Errorf("leaves %v", n)
	}
}

// What nobody approves in time lapses: document, header and salt go, and a leaf says so.
func TestApprovalLapses(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.start("alpha", "bravo")
	soon, later := secretly("bravo"), secretly("bravo")
	soon.DeliverSeconds, later.DeliverSeconds = 2, 20*60*60
	ref := w.hold(soon, "the plan").GetExchanges()[0]
	x := w.hold(later, "another plan")
	if ends := x.GetWaitsUntil().AsTime(); time.Until(ends) > 7*24*time.Hour {
		t.Errorf("it waits until %s", ends)
	}
	w.await("alpha", ref, "lapsed")
	if !eventually(func() bool { return len(w.files("alpha", "blobs")) == 1 }) {
		t.Errorf("blobs %v", w.files("alpha", "blobs"))
	}
	for _, again := range []func() error{
		func() error { _, err := w.approve("ann", soon, "the plan"); return err },
		func() error {
			_, err := w.person("alpha").Send(t.Context(), soon, strings.NewReader("the plan"))
			return err
		},
	} {
		if err := again(); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), "nobody approved it") {
			t.Errorf("after it has lapsed: %v", err)
		}
	}
	// A node that was off finds out when it starts.
	w.stop("alpha")
	w.setClock("alpha", 23*time.Hour)
	w.start("alpha")
	w.await("alpha", x.GetExchanges()[0], "lapsed")
	if !eventually(func() bool { return len(w.files("alpha", "blobs")) == 0 }) {
		t.Errorf("blobs %v", w.files("alpha", "blobs"))
	}
	if err := w.reader("alpha").DB.View(t.Context(), func(v *store.View) error {
		r, err := v.WaitingByID(soon.Id)
		if err == nil && (r.Header != nil || r.Salt != nil || r.State != store.Lapsed) {
			err = fmt.Errorf("kept: %+v", r)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if n := w.leavesOf("alpha"); n[statement.EventLapsed] != 2 || n[statement.EventWaiting] != 2 {
		t.Errorf("leaves %v", n)
	}
}

// A node may die at any moment of an approval: what is there then either waits or was released, and to approve again ends it well.
func TestApprovalKilled(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.start("alpha", "bravo")
	ctx := t.Context()

	sub := secretly("bravo")
	ref := w.hold(sub, "the plan").GetExchanges()[0]
	for _, step := range []struct {
		name    string
		waiting int
	}{{"between the second name of the blob and the commit", 1}, {"between the commit and the end of the first name", 0}} {
		w.stop("alpha")
		blob := w.files("alpha", "blobs")[0]
		left := filepath.Join(w.Home("alpha"), "blobs", "ab", strings.Repeat("ab", 32))
		if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o700), os.Link(blob, left)); err != nil {
			t.Fatal(err)
		}
		w.start("alpha")
		if n := len(w.files("alpha", "blobs")); n != 1 || len(w.waiting(false)) != step.waiting {
			t.Fatalf("%s: %d blobs after the start, waiting %v", step.name, n, w.waiting(false))
		}
		if _, err := w.approve("ann", sub, "the plan"); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		w.await("alpha", ref, "delivered")
	}
	for i := range 8 {
		sub := secretly("bravo")
		doc := bytes.Repeat([]byte{byte(i)}, 1<<20)
		ref := w.hold(sub, string(doc)).GetExchanges()[0]
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = w.as("alpha", "ann").Approve(ctx, approving(sub), bytes.NewReader(doc))
		}()
		time.Sleep(time.Duration(i) * 5 * time.Millisecond)
		if err := w.Kill(ctx, "alpha"); err != nil {
			t.Fatal(err)
		}
		w.start("alpha")
		<-ended
		if _, err := w.as("alpha", "ann").Approve(context.WithoutCancel(ctx), approving(sub), bytes.NewReader(doc)); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		w.await("alpha", ref, "delivered")
		if got, err := open(ctx, w.person("bravo"), ref); err != nil || !bytes.Equal(got, doc) {
			t.Fatalf("round %d: opened %d bytes, %v", i, len(got), err)
		}
	}
	if n := w.leavesOf("alpha"); n[statement.EventReleased] != 9 || n[statement.EventWaiting] != 9 {
		t.Errorf("leaves %v", n)
	}
}

// The outbox lists what waits among what was sent, newest first, whatever the size of a page.
func TestOutboxWithWaiting(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.start("alpha")
	var want []string
	for i := range 9 {
		sub := secretly("bravo")
		if i%3 == 0 {
			sub.Label = "TLP:GREEN"
		}
		out, err := w.person("alpha").Send(t.Context(), sub, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, out.GetExchanges()...)
	}
	for _, size := range []int32{1, 2, 5, 100} {
		var got []string
		last := time.Time{}
		for cursor := ""; ; {
			page, err := w.person("alpha").Node().List(t.Context(), &ententev1.ListRequest{Direction: ententev1.Direction_DIRECTION_OUT, Cursor: cursor, Limit: size})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range page.GetExchanges() {
				if at := x.GetCreated().AsTime(); !last.IsZero() && at.After(last) {
					t.Errorf("pages of %d: %s after %s", size, at, last)
				} else {
					last = at
				}
				got = append(got, x.GetRef())
			}
			if cursor = page.GetCursor(); cursor == "" {
				break
			}
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("pages of %d: %v, want %v", size, got, want)
		}
	}
}

// A recipient takes nothing above that label of which the sender does not say that a second person approved it.
func TestAcceptsWhatWasApproved(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.agreement = w.agree(statement.Agreement{Name: secret, Parties: []string{"alpha", "bravo"}, ApprovalAbove: "TLP:GREEN"})
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	for name, c := range map[string]struct {
		edit func(*document)
		kind statement.ReceiptKind
	}{
		"nobody approved it": {func(*document) {}, statement.Refused},
		"ann approved it":    {func(d *document) { d.m.Approval = statement.Approval{By: "spiffe://alpha/person/ann", At: d.m.Created} }, statement.Stored},
		"nobody needed to approve it": {func(d *document) {
			*d = *w.document("alpha", []string{"bravo"}, "x", func(m *statement.Manifest) { m.Label = "TLP:GREEN" })
		}, statement.Stored},
	} {
		d := w.document("alpha", []string{"bravo"}, "the plan")
		c.edit(d)
		w.sign(d)
		raw, err := alpha.deliver(t.Context(), d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := statement.ParseDraft[statement.Receipt](raw)
		if err != nil || r.Terms.Kind != c.kind || c.kind == statement.Refused && (len(r.Terms.Reasons) != 1 || r.Terms.Reasons[0].Rule != "approved") {
			t.Errorf("%s: %v, %v", name, r.Terms, err)
		}
	}
	// Approving one's own cannot even be written.
	d := w.document("alpha", []string{"bravo"}, "the plan")
	d.m.Approval = statement.Approval{By: "spiffe://alpha/person/ann", At: d.m.Created}
	w.sign(d)
	w.forge(d, "[approval]\nby = \"spiffe://alpha/person/ann\"", "[approval]\nby = \"spiffe://alpha/person/alice\"")
	if _, err := alpha.deliver(t.Context(), d); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "nobody approves their own") {
		t.Errorf("one's own approval: %v", err)
	}
}
