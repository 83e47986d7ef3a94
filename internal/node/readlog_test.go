package node_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/audit"
	"entente.example/internal/fault"
	"entente.example/internal/lab"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// fetch has a person fetch a log into a folder, and verifies it.
func (w *world) fetch(m, person, of string) (dir string, report *audit.Report, err error) {
	w.t.Helper()
	next, stop, err := w.as(m, person).FetchLog(w.t.Context(), of)
	if err != nil {
		return "", nil, err
	}
	defer stop()
	trust, ok := audit.TrustIn(w.history, of)
	if !ok {
		w.t.Fatalf("no member %s", of)
	}
	dir = filepath.Join(w.t.TempDir(), "log")
	report, err = audit.Import(dir, trust, next)
	return dir, report, err
}

// An auditor reads the whole log, and nothing that is private: no name, no document.
func TestFetchLog(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.staff("alpha", "carla", "auditor")
	w.staff("alpha", "rita", "reader", "releaser", "admin")
	w.start("alpha", "bravo", "charlie")
	ref := w.send("alpha", submission("bravo"), []byte("a boat is adrift"))[0]
	w.await("alpha", ref, "delivered")
	w.cosigned("alpha")

	dir, report, err := w.fetch("alpha", "carla", "alpha")
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || len(report.Notes) != 0 || report.Leaves < 5 || report.Log != "alpha/log/1" {
		t.Errorf("got %+v", report)
	}
	all := new(bytes.Buffer)
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, readErr := os.ReadFile(path)
			all.Write(b)
			err = readErr
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{w.Person("alpha"), "carla", "adrift", "report.txt", "spiffe://"} {
		if bytes.Contains(all.Bytes(), []byte(secret)) {
			t.Errorf("the log shows %q", secret)
		}
	}
	if !bytes.Contains(all.Bytes(), []byte(`"kind":"released"`)) {
		t.Error("the log has no entries")
	}
	if got := w.state("alpha"); !strings.Contains(got.kinds(0), "audited") {
		t.Errorf("alpha's log does not say that it was read: %s", got.kinds(0))
	}
	before := len(w.state("bravo").leaves)
	_, _, err = w.fetch("alpha", "rita", "alpha")
	wantFault(t, err, fault.Forbidden, "takes the role auditor")
	_, _, err = w.fetch("alpha", "carla", "bravo")
	wantFault(t, err, fault.Forbidden, "does not name spiffe://alpha/person/carla as an auditor")
	if after := w.state("bravo"); strings.Contains(after.kinds(0), "audited") || len(after.leaves) < before {
		t.Errorf("bravo was asked: %s", after.kinds(0))
	}

	// The role alone opens and sends nothing.
	_, err = open(t.Context(), w.as("alpha", "carla"), ref)
	if err == nil {
		t.Error("an auditor opened a document")
	}
	_, err = w.as("alpha", "carla").Send(t.Context(), submission("bravo"), bytes.NewReader([]byte("x")))
	wantFault(t, err, fault.Refused, "policy refuses")
}

// An auditor of another member, whom the charter names, reads and verifies a log, which says so; a colleague does not.
func TestFetchLogOfAnotherMember(t *testing.T) {
	t.Parallel()
	w := foundWith(t, lab.Options{Members: []string{"alpha", "bravo", "charlie"}, Auditors: []string{"spiffe://charlie/person/ines"}})
	w.staff("charlie", "ines", "auditor")
	w.staff("charlie", "otto", "auditor")
	w.start("alpha", "bravo", "charlie")
	w.await("alpha", w.send("alpha", submission("bravo"), []byte("a boat is adrift"))[0], "delivered")
	_, report, err := w.fetch("charlie", "ines", "alpha")
	if err != nil || !report.OK() || len(report.Notes) != 0 || report.Log != "alpha/log/1" {
		t.Fatalf("%+v, %v", report, err)
	}
	leaves := w.state("alpha").leaves
	i := slices.IndexFunc(leaves, func(l statement.Leaf) bool { return l.Kind == statement.EventAudited })
	if i < 0 || !slices.Equal(leaves[i].Peers, []string{"charlie"}) || leaves[i].Private["person"] == "" {
		t.Errorf("alpha's log does not say that charlie read it: %v", leaves)
	}
	_, _, err = w.fetch("charlie", "otto", "alpha")
	wantFault(t, err, fault.Forbidden, "does not name spiffe://charlie/person/otto")
	// Nor does the member's node get what its auditor gets under another's name.
	stream, err := w.peer("bravo", "alpha").conn.ReadLog(t.Context(), &ententev1.ReadLogRequest{Auditor: "spiffe://charlie/person/ines"})
	if err == nil {
		_, err = stream.Recv()
	}
	wantFault(t, err, fault.Forbidden, "does not name")
	_, _, err = w.fetch("charlie", "ines", "charlie")
	if err != nil {
		t.Errorf("an auditor of all cannot read its own member's log: %v", err)
	}
}

// At a peer's node only an auditor of that peer whom the charter names may read, whatever the peer says.
func TestReadLogForStrangers(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("alpha", "bravo")
	for _, auditor := range []string{"spiffe://bravo/person/dave", "spiffe://charlie/person/dave", "spiffe://alpha/node", "dave"} {
		stream, err := w.peer("bravo", "alpha").conn.ReadLog(t.Context(), &ententev1.ReadLogRequest{Auditor: auditor})
		if err == nil {
			_, err = stream.Recv()
		}
		wantFault(t, err, fault.Forbidden, "does not name")
	}
	if got := w.state("alpha"); strings.Contains(got.kinds(0), "audited") {
		t.Errorf("alpha's log: %s", got.kinds(0))
	}
}

// A log that comes damaged, cut off, or with something else in it is not written.
func TestImportDamaged(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.staff("alpha", "carla", "auditor")
	w.start("alpha", "bravo", "charlie")
	next, stop, err := w.as("alpha", "carla").FetchLog(t.Context(), "alpha")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	type file struct {
		path    string
		content []byte
	}
	var files []file
	for {
		path, content, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{path, content})
	}
	trust, _ := audit.TrustIn(w.history, "alpha")
	other, _ := audit.TrustIn(w.history, "bravo")
	flip := func(b []byte, at int) []byte { c := bytes.Clone(b); c[at] ^= 1; return c }
	last := len(files) - 1
	for name, c := range map[string]struct {
		trust audit.Trust
		files []file
	}{
		"nothing":              {trust, nil},
		"no checkpoint":        {trust, files[1:]},
		"checkpoint only":      {trust, files[:1]},
		"last file missing":    {trust, files[:last]},
		"another member's":     {other, files},
		"checkpoint changed":   {trust, append([]file{{files[0].path, flip(files[0].content, 20)}}, files[1:]...)},
		"co-signature changed": {trust, append([]file{{files[0].path, flip(files[0].content, len(files[0].content)-20)}}, files[1:]...)},
		"entry changed":        {trust, append(append([]file{}, files[:last]...), file{files[last].path, flip(files[last].content, 40)})},
		"file twice":           {trust, append(append([]file{}, files...), files[last])},
		"file outside":         {trust, append(append([]file{}, files...), file{"../evil", []byte("x")})},
		"file of its own":      {trust, append(append([]file{}, files...), file{"log.vkey", []byte("x")})},
		"tile beyond the end":  {trust, append(append([]file{}, files...), file{"tile/0/001", []byte("x")})},
	} {
		parent := t.TempDir()
		i := 0
		_, err := audit.Import(filepath.Join(parent, "log"), c.trust, func() (string, []byte, error) {
			if i == len(c.files) {
				return "", nil, io.EOF
			}
			i++
			return c.files[i-1].path, c.files[i-1].content, nil
		})
		left, _ := os.ReadDir(parent)
		if err == nil || len(left) != 0 {
			t.Errorf("%s: %v, and %d files are left", name, err, len(left))
		}
	}
	if _, err := audit.Import(t.TempDir(), trust, func() (string, []byte, error) { return "", nil, errLine }); !errors.Is(err, errLine) {
		t.Errorf("got %v", err)
	}
}

var errLine = errors.New("the line broke")
