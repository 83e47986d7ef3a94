package node_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/limit"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// thirdLog is a log of somebody who never heard of us: golang.org/x/mod's tree and signed notes, nothing of ours.
type thirdLog struct {
	t      *testing.T
	signer note.Signer
	vkey   string
	size   int64
	hashes []tlog.Hash
	ext    string // extension lines of its checkpoints
}

func newThirdLog(t *testing.T, origin string) *thirdLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &thirdLog{t: t, signer: s, vkey: vkey}
}

// ReadHashes is for tlog.
func (l *thirdLog) ReadHashes(at []int64) (list []tlog.Hash, err error) {
	for _, i := range at {
		list = append(list, l.hashes[i])
	}
	return list, nil
}

// grow adds leaves. seed tells apart what stands in them.
func (l *thirdLog) grow(n int, seed string) {
	for range n {
		h, err := tlog.StoredHashes(l.size, fmt.Appendf(nil, "%s %d", seed, l.size), l)
		if err != nil {
			l.t.Fatal(err)
		}
		l.hashes, l.size = append(l.hashes, h...), l.size+1
	}
}

func (l *thirdLog) sign(size int64, root tlog.Hash, others ...note.Signer) []byte {
	l.t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n%s", l.signer.Name(), size, base64.StdEncoding.EncodeToString(root[:]), l.ext)
	raw, err := note.Sign(&note.Note{Text: text}, append(others, l.signer)...)
	if err != nil {
		l.t.Fatal(err)
	}
	return raw
}

func (l *thirdLog) root(size int64) tlog.Hash {
	l.t.Helper()
	h, err := tlog.TreeHash(size, l)
	if err != nil {
		l.t.Fatal(err)
	}
	return h
}

func (l *thirdLog) checkpoint(size int64) []byte { return l.sign(size, l.root(size)) }

func (l *thirdLog) proof(size, from int64) (lines string) {
	l.t.Helper()
	p, err := tlog.ProveTree(size, from, l)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, h := range p {
		lines += base64.StdEncoding.EncodeToString(h[:]) + "\n"
	}
	return lines
}

// request is the body of add-checkpoint, as a log that makes no mistake writes it.
func (l *thirdLog) request(size, from int64) []byte {
	lines := ""
	if 0 < from && from < size {
		lines = l.proof(size, from)
	}
	return body(from, lines, l.checkpoint(size))
}

func body(from int64, proof string, checkpoint []byte) []byte {
	return fmt.Appendf(nil, "old %d\n%s\n%s", from, proof, checkpoint)
}

// configure adds lines to a member's entente.toml in the place of those that begin alike.
func (w *world) configure(m string, lines ...string) {
	w.t.Helper()
	name := filepath.Join(w.Home(m), "entente.toml")
	raw, err := os.ReadFile(name)
	if err != nil {
		w.t.Fatal(err)
	}
	text := string(raw)
	for _, line := range lines {
		key, _, _ := strings.Cut(line, " ")
		at := strings.Index(text, "\n"+key+" = ")
		if at < 0 {
			w.t.Fatalf("there is no %s in %s", key, name)
		}
		rest := text[at+1:]
		text = text[:at+1] + line + rest[strings.IndexByte(rest, '\n'):]
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// strangers has a member listen for whoever is no member, from its next start on, and gives the URL.
func (w *world) strangers(m string) string {
	w.t.Helper()
	at, err := w.ListenForStrangers(w.t.Context(), m)
	if err != nil {
		w.t.Fatal(err)
	}
	return "http://" + at
}

// answered is what came over HTTP.
type answered struct {
	status int
	kind   string
	body   string
	header http.Header
}

func request(t *testing.T, method, url string, content io.Reader) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, content)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

func read(t *testing.T, resp *http.Response) answered {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header.Get("Content-Type"), string(b), resp.Header}
}

// verifyLines checks the two lines of a member's witness with somebody else's implementation, and gives them.
func (w *world) verifyLines(m string, raw []byte, lines string) []note.Signature {
	w.t.Helper()
	one, _ := w.history.Member(m)
	var verifiers []note.Verifier
	for _, vkey := range []string{one.WitnessKey, one.WitnessMLDSA} {
		v, err := f_note.NewVerifierForCosignatureV1(vkey)
		if err != nil {
			w.t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	n, err := note.Open(append(bytes.Clone(raw), lines...), note.VerifierList(verifiers...))
	if err != nil {
		w.t.Fatalf("%v:\n%s", err, lines)
	}
	if len(n.Sigs) != 2 || strings.Count(lines, "\n") != 2 {
		w.t.Fatalf("there are %d good lines in\n%s", len(n.Sigs), lines)
	}
	for _, s := range n.Sigs {
		at, err := f_note.CoSigV1Timestamp(s)
		if err != nil || time.Since(at).Abs() > time.Minute {
			w.t.Errorf("co-signed at %s: %v", at, err)
		}
	}
	return n.Sigs
}

const (
	kindText = "text/plain; charset=utf-8"
	kindSize = "text/x.tlog.size"
)

// Every rule of C2SP tlog-witness, add-checkpoint, one by one, against a log that is none of ours and has extension lines.
func TestAddCheckpoint(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	log, other, small := newThirdLog(t, "sum.example/log"), newThirdLog(t, "sum.example/log"), newThirdLog(t, "small.example/log")
	log.ext = "an extension line\nand another\n"
	log.grow(20, "leaf")
	other.grow(20, "other")
	w.configure("alpha", fmt.Sprintf("witness_logs = [%q, %q]", log.vkey, small.vkey))
	url := w.strangers("alpha") + "/add-checkpoint"
	w.start("alpha")

	wrong := log.sign(8, other.root(8))
	many := strings.Repeat(log.root(1).String()+"\n", 64)
	for _, c := range []struct {
		name   string
		body   []byte
		status int
		says   string // how the body begins, or all of it for 409
	}{
		{"size 0 with the root of something else", body(0, "", small.sign(0, log.root(5))), 422, "an empty tree"},
		{"size 0", small.request(0, 0), 200, "— alpha/witness "},
		{"a proof from size 0", body(0, log.proof(5, 2), log.checkpoint(5)), 422, "from size 0"},
		{"an old size before anything was co-signed", log.request(5, 2), 409, "0\n"},
		{"the first", log.request(5, 0), 200, "— alpha/witness "},
		{"the first once more", log.request(5, 0), 409, "5\n"},
		{"the same", log.request(5, 5), 200, "— alpha/witness "},
		{"the same with a proof", body(5, log.proof(6, 5), log.checkpoint(5)), 422, "from size 5 to itself"},
		{"same size, other root", body(5, "", log.sign(5, other.root(5))), 409, "5\n"},
		{"an old size that is too small", log.request(8, 3), 409, "5\n"},
		{"an old size that is too large", log.request(8, 7), 409, "5\n"},
		{"an old size beyond the checkpoint", body(9, "", log.checkpoint(8)), 400, "the old size 9"},
		{"a proof of something else", body(5, log.proof(8, 4), log.checkpoint(8)), 422, "the proof does not show"},
		{"no proof", body(5, "", log.checkpoint(8)), 422, "the proof does not show"},
		{"a proof for another root", body(5, log.proof(8, 5), wrong), 422, "the proof does not show"},
		{"a log that nobody knows", newThirdLog(t, "other.example/log").request(0, 0), 404, "the log \"other.example/log\""},
		{"a key that nobody knows", body(5, log.proof(8, 5), bytes.Replace(other.checkpoint(8), []byte(other.root(8).String()), []byte(log.root(8).String()), 1)), 403, ""},
		{"another key of that name", other.request(8, 5), 403, ""},
		{"a signature that is not good", bytes.Replace(log.request(8, 5), []byte("and another"), []byte("and one more"), 1), 403, ""},
		{"64 lines of proof", body(5, many, log.checkpoint(8)), 400, ""},
		{"nothing", nil, 400, ""},
		{"garbage", []byte("\x00\xff\xfe garbage\n\n\n"), 400, ""},
		{"no old size", []byte("new 5\n\n" + string(log.checkpoint(8))), 400, ""},
		{"a negative old size", []byte("old -5\n\n" + string(log.checkpoint(8))), 400, ""},
		{"an old size with a zero in front", []byte("old 05\n" + log.proof(8, 5) + "\n" + string(log.checkpoint(8))), 400, ""},
		{"a proof line that is none", []byte("old 5\nAAAA\n\n" + string(log.checkpoint(8))), 400, ""},
		{"no checkpoint", []byte("old 5\n" + log.proof(8, 5) + "\n"), 404, ""}, // of a log without a name
		{"half a checkpoint", body(5, log.proof(8, 5), log.checkpoint(8)[:60]), 400, ""},
		{"lines of others beside the log's", body(5, log.proof(8, 5), log.sign(8, log.root(8), other.signer, small.signer)), 200, "— alpha/witness "},
		{"one that was overtaken", log.request(7, 5), 409, "8\n"},
		{"the next", log.request(20, 8), 200, "— alpha/witness "},
	} {
		got := request(t, http.MethodPost, url, bytes.NewReader(c.body))
		kind := kindText
		if c.status == http.StatusConflict {
			kind = kindSize
		}
		if got.status != c.status || got.kind != kind || !strings.HasPrefix(got.body, c.says) || c.status == 409 && got.body != c.says || !strings.HasSuffix(got.body, "\n") {
			t.Errorf("%s: %d, %s, %.100q", c.name, got.status, got.kind, got.body)
		}
		if c.status == http.StatusOK && got.status == http.StatusOK {
			_, asked, _ := bytes.Cut(c.body, []byte("\n\n"))
			w.verifyLines("alpha", asked, got.body)
		}
	}

	// What was co-signed outlives the process, and the listener's state is no other than that of the witness in the head.
	held := filepath.Join(w.Home("alpha"), "head")
	w.stop("alpha")
	again := w.strangers("alpha") + "/add-checkpoint"
	w.start("alpha")
	if got := request(t, http.MethodPost, again, bytes.NewReader(log.request(20, 0))); got.status != 409 || got.body != "20\n" {
		t.Errorf("after a restart: %d %q", got.status, got.body)
	}
	list, err := audit.ListWitnessed(held)
	if err != nil || len(list) == 0 {
		t.Errorf("witnessed: %v, %v", list, err)
	}
}

// A member's log over HTTP and over gRPC is one and the same for the witness.
func TestAddCheckpointOfMember(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	url := w.strangers("alpha") + "/add-checkpoint"
	w.start("alpha")
	var raw []byte
	h := w.reader("bravo")
	err := h.DB.View(t.Context(), func(v *store.View) (err error) { _, raw, err = v.Checkpoint(); return err })
	if err != nil {
		t.Fatal(err)
	}
	_, tree, err := checkpoint.Head(raw)
	if err != nil {
		t.Fatal(err)
	}
	asked := checkpoint.Request{Checkpoint: raw}.Format()
	if got := request(t, http.MethodPost, url, bytes.NewReader(asked)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	} else {
		w.verifyLines("alpha", raw, got.body)
	}
	a, err := w.peer("bravo", "alpha").conn.Witness(t.Context(), &ententev1.WitnessRequest{Request: asked})
	if want := fmt.Sprintf("%d\n", tree.N); err != nil || a.GetStatus() != 409 || string(a.GetBody()) != want || !bytes.Equal(a.GetHeld(), raw) {
		t.Errorf("over gRPC: %v, %v", a, err)
	}
	own := w.reader("alpha")
	if err := own.DB.View(t.Context(), func(v *store.View) (err error) { _, raw, err = v.Checkpoint(); return err }); err != nil {
		t.Fatal(err)
	}
	if got := request(t, http.MethodPost, url, bytes.NewReader(checkpoint.Request{Checkpoint: raw}.Format())); got.status != 404 {
		t.Errorf("its own log: %d %s", got.status, got.body)
	}
}

// Requests that race: one history is co-signed, whoever wins.
func TestAddCheckpointTogether(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	log := newThirdLog(t, "sum.example/log")
	log.grow(70, "leaf")
	w.configure("alpha", fmt.Sprintf("witness_logs = [%q]", log.vkey))
	url := w.strangers("alpha") + "/add-checkpoint"
	w.start("alpha")
	var mu sync.Mutex
	won := 0
	var wait sync.WaitGroup
	for i := range int64(64) {
		wait.Go(func() {
			got := request(t, http.MethodPost, url, bytes.NewReader(log.request(i+1, 0)))
			mu.Lock()
			defer mu.Unlock()
			if got.status == 200 {
				won++
			} else if got.status != 409 && got.status != 503 {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	wait.Wait()
	if won != 1 {
		t.Errorf("%d of 64 first checkpoints were co-signed", won)
	}
}

// raw sends bytes as they are and reads the answer; the connection is closed after it.
func raw(t *testing.T, url, text string) answered {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	return read(t, resp)
}

// What is no request of ours gets an answer that says so, and nothing else.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	url := w.strangers("alpha")
	w.start("alpha", "bravo")
	if !eventually(func() bool { return request(t, http.MethodGet, url+"/checkpoint", nil).status == 200 }) {
		t.Fatal("no co-signed checkpoint is shown")
	}
	leaf := w.state("alpha").leaves[0]
	secret := leaf.Time.Format(time.RFC3339)

	for _, path := range []string{"/tile/entries/000", "/tile/entries/000.p/1", "/tile/entries/", "/tile/entries/x001/000", "/tile/entries/../0/000.p/1"} {
		if got := raw(t, url, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); got.status != 403 || got.kind != kindText || !strings.Contains(got.body, "entente audit fetch") {
			t.Errorf("%s: %d %s %q", path, got.status, got.kind, got.body)
		}
	}
	for _, path := range []string{
		"/", "/tile", "/tile/", "/tile/entries", "/tile/%65ntries/000", "/tile%2Fentries%2F000", "//tile/entries/000", "/tile//entries/000", "/tile/./entries/000.p/1",
		"/tile/0/../entries/000.p/1", "/./checkpoint", "/checkpoint/", "/Checkpoint", "/checkpoint%00", "/%63heckpoint", "/tile/data/000.p/1", "/tile/8/data/000.p/1",
		"/tile/-1/000.p/1", "/tile/-1/000", "/tile/0/000", "/tile/0/000.p/255", "/tile/0/000.p/0", "/tile/0/000.p/01", "/tile/0/0.p/1", "/tile/0/x000/000.p/1", "/tile/00/000.p/1", "/tile/64/000.p/1",
		"/tile/9/000", "/tile/0/x999/x999/999", "/tile/0/9223372036854775807", "/tile/0/000.p/1/", "/tile/0/000.p/1%20", "/../../etc/passwd", "/entente.toml", "/metrics", "/debug/pprof/",
	} {
		got := raw(t, url, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if got.status != 404 || got.kind != kindText || strings.Contains(got.body, secret) {
			t.Errorf("%s: %d %s %q", path, got.status, got.kind, got.body)
		}
	}
	for what, text := range map[string]string{
		"GET http://elsewhere.example/checkpoint HTTP/1.1\r\nHost: elsewhere.example": "404",
		"OPTIONS * HTTP/1.1\r\nHost: x":                                               "404",
		"GET /add-checkpoint HTTP/1.1\r\nHost: x":                                     "405 POST",
		"PUT /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 0":                "405 POST",
		"POST /checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 0":                   "405 GET",
		"DELETE /tile/0/000.p/1 HTTP/1.1\r\nHost: x":                                  "405 GET",
		"GET /checkpoint HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 16<<10):    "431",
		"PRI * HTTP/2.0\r\n\r\nSM":                                                    "404",
	} {
		got := raw(t, url, what+"\r\n\r\n")
		if said := strings.TrimSpace(fmt.Sprint(got.status, " ", got.header.Get("Allow"))); said != text {
			t.Errorf("%.60q: %s", what, said)
		}
	}
	if got := request(t, http.MethodHead, url+"/checkpoint", nil); got.status != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q", got.status, got.body)
	}

	// Bodies: too large by their own word, too large without saying so, cut off, slow. Slow ones take nobody's place.
	big := strings.Repeat("A", limit.Proof+1)
	if got := request(t, http.MethodPost, url+"/add-checkpoint", strings.NewReader(big)); got.status != 413 {
		t.Errorf("a large body: %d", got.status)
	}
	if got := request(t, http.MethodPost, url+"/add-checkpoint", io.MultiReader(strings.NewReader(big))); got.status != 413 {
		t.Errorf("a large body in chunks: %d", got.status)
	}
	slow := func() net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, "POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nold 0\n"); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	begun, first := time.Now(), slow()
	for range limit.PublicRequests {
		slow()
	}
	if got := request(t, http.MethodGet, url+"/checkpoint", nil); got.status != 200 {
		t.Errorf("beside slow requests: %d", got.status)
	}
	if err := first.SetReadDeadline(begun.Add(4 * limit.PublicCall)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(first), nil)
	if err != nil || resp.StatusCode != 408 {
		t.Errorf("a slow body: %v, %v", resp, err)
	}
	if took := time.Since(begun); took < limit.PublicCall/2 || took > 3*limit.PublicCall {
		t.Errorf("a slow body was waited for %s", took)
	}
}

// tiles reads hash tiles as x/mod asks for them, from an URL.
type tiles struct {
	t   *testing.T
	url string
}

// Height is that of C2SP tlog-tiles.
func (r tiles) Height() int { return 8 }

// ReadTiles is for tlog.
func (r tiles) ReadTiles(list []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range list {
		path := strings.TrimPrefix(tile.Path(), "tile/8/")
		got := request(r.t, http.MethodGet, r.url+"/tile/"+path, nil)
		if got.status != 200 || got.kind != "application/octet-stream" || !strings.Contains(got.header.Get("Cache-Control"), "immutable") {
			return nil, fmt.Errorf("tile %s: %d %s", path, got.status, got.body)
		}
		data = append(data, []byte(got.body))
	}
	return data, nil
}

// SaveTiles is for tlog.
func (r tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// Who has the checkpoint and the tiles can prove where a leaf stands, without any leaf but that one.
func TestTilesForStrangers(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	url := w.strangers("alpha")
	w.start("alpha")
	if got := request(t, http.MethodGet, url+"/checkpoint", nil); got.status != 404 || !strings.Contains(got.body, "no quorum") {
		t.Errorf("before anybody co-signed: %d %q", got.status, got.body)
	}
	if got := request(t, http.MethodGet, url+"/tile/0/000.p/1", nil); got.status != 404 {
		t.Errorf("a tile before anybody co-signed: %d", got.status)
	}
	w.start("bravo")
	ref := w.send("alpha", submission("bravo"), []byte("a document"))[0]
	w.await("alpha", ref, "delivered")
	size := int64(len(w.state("alpha").leaves))
	var raw []byte
	if !eventually(func() bool {
		got := request(t, http.MethodGet, url+"/checkpoint", nil)
		raw = []byte(got.body)
		_, tree, err := checkpoint.Head(raw)
		return got.status == 200 && got.kind == kindText && err == nil && tree.N >= size
	}) {
		t.Fatalf("no co-signed checkpoint of %d leaves: %s", size, raw)
	}
	alpha, _ := w.history.Member("alpha")
	c, err := checkpoint.Open(raw, checkpoint.Log{Ed25519: alpha.LogKey, MLDSA: alpha.LogMLDSA}, audit.Witnesses(w.history, "alpha")...)
	if err != nil || len(c.Cosigned) != 1 || c.Cosigned[0].Witness != "bravo/witness" || !c.Cosigned[0].PQ {
		t.Fatalf("opened as %+v: %v", c, err)
	}
	hashes := tlog.TileHashReader(c.Tree, tiles{t, url})
	h := w.reader("alpha")
	var leaves [][]byte
	if err := h.DB.View(t.Context(), func(v *store.View) (err error) { leaves, err = v.Leaves(0, int(c.Tree.N)); return err }); err != nil {
		t.Fatal(err)
	}
	for i, leaf := range leaves {
		proof, err := tlog.ProveRecord(c.Tree.N, int64(i), hashes)
		if err := errors.Join(err, tlog.CheckRecord(proof, c.Tree.N, c.Tree.Hash, int64(i), tlog.RecordHash(leaf))); err != nil {
			t.Errorf("leaf %d: %v", i, err)
		}
	}

	// What nobody has co-signed yet is not shown, not even its hash.
	w.stop("bravo")
	w.send("alpha", submission("bravo"), []byte("another document"))
	_, tree, err := checkpoint.Head([]byte(request(t, http.MethodGet, url+"/checkpoint", nil).body))
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		size   int64
		status int
	}{{tree.N, 200}, {tree.N + 1, 404}} {
		if got := request(t, http.MethodGet, fmt.Sprintf("%s/tile/0/000.p/%d", url, one.size), nil); got.status != one.status {
			t.Errorf("a tile of %d hashes, of which %d are co-signed: %d", one.size, tree.N, got.status)
		}
	}
}

// A configuration that cannot be meant stops the node before it listens.
func TestWitnessConfiguration(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	log := newThirdLog(t, "sum.example/log")
	for line, says := range map[string]string{
		`witness_listen = "here"`:            "witness_listen",
		`witness_logs = ["sum.example/log"]`: "is not a verifier key",
		fmt.Sprintf(`witness_logs = [%q, %q]`, log.vkey, newThirdLog(t, "sum.example/log").vkey): "is the second key of that name",
		fmt.Sprintf(`witness_logs = [%q]`, newThirdLog(t, "zulu/log/1").vkey):                    "the name of a member's log",
		`witness_logs = [` + strings.Repeat(fmt.Sprintf("%q,", log.vkey), 65) + `]`:              "at most 64",
	} {
		w.configure("alpha", line)
		if err := w.Start(t.Context(), "alpha"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: %v", line, err)
		}
		key, _, _ := strings.Cut(line, " ")
		w.configure("alpha", map[string]string{"witness_listen": `witness_listen = ""`, "witness_logs": `witness_logs = []`}[key])
	}
	w.configure("alpha", `witness_listen = "`+strings.TrimPrefix(taken(t), "http://")+`"`)
	if err := w.Start(t.Context(), "alpha"); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("a port that is taken: %v", err)
	}
	w.configure("alpha", `witness_listen = "127.0.0.1:0"`)
	w.start("alpha")
}

// taken is an address on which somebody else listens.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
