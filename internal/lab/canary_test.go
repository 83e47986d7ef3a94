package lab_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/audit"
	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/lab"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// The canaries: words that occur nowhere else, so that wherever one is found, a secret got out.
const (
	canaryName    = "canary-wombat-ledger.pdf"
	canaryContent = "CANARY kestrel ravine 58291 magnolia"
	canarySender  = "quokkawhistle"
	canaryReader  = "numbatlantern"
)

// canary is a secret, and where it must not be.
type canary struct {
	what    string
	secret  []byte
	allowed func(path string) bool // files, as paths below the world, that may hold it
}

// TestCanaries plays a whole exchange, with all that can be refused in it, and then searches everything that was written
// on any disk, logged at the finest level, or sent between two members.
func TestCanaries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logged, err := os.Create(filepath.Join(dir, "debug.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logged.Close()
	wire := &wire{t: t}
	w, err := lab.Found(t.Context(), lab.Options{Dir: filepath.Join(dir, "world"), Members: []string{"alpha", "bravo", "charlie"}, Advertise: wire.relay,
		Log: slog.New(slog.NewJSONHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = w.Close()
		}
	}()
	playCanaries(t, w)

	var canaries []canary
	nowhere := func(string) bool { return false }
	canaries = append(canaries, canary{"the content", []byte(canaryContent), nowhere}, canary{"the file name", []byte(canaryName), nowhere})
	for _, m := range w.Names {
		canaries = append(canaries, keyMaterial(t, w, m)...)
	}
	searchFiles(t, dir, canaries) // with the write-ahead logs of running nodes
	searchLeaves(t, w, dir, canaries)
	if err := w.Check(t.Context()); err != nil {
		t.Error(err)
	}
	closed = true
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	searchFiles(t, dir, canaries)
	wire.search(canaries)
}

// playCanaries sends, opens, opens again, and asks for what is refused, always with the canaries.
func playCanaries(t *testing.T, w *lab.World) {
	t.Helper()
	ctx := t.Context()
	_, err := w.Agree(ctx, lab.Agreement{Name: "harbour-watch", Parties: []string{"alpha", "bravo", "charlie"}, Purposes: []string{"exercise"}, Ceiling: "TLP:AMBER", RetainDays: 90})
	err = errors.Join(err, w.AddPerson(ctx, "alpha", canarySender, "releaser"), w.AddPerson(ctx, "bravo", canaryReader, "reader"), w.AddPerson(ctx, "charlie", canaryReader, "releaser"), w.StartAll(ctx))
	if err != nil {
		t.Fatal(err)
	}
	sender, reader, stranger := as(t, w, "alpha", canarySender), as(t, w, "bravo", canaryReader), as(t, w, "charlie", canaryReader)
	content := []byte(strings.Repeat(canaryContent+"\n"+strings.Repeat("x", 977), 300))
	sub := func(label string) *ententev1.Submission {
		return &ententev1.Submission{Id: client.NewID(), To: []string{"bravo", "charlie"}, Agreement: "harbour-watch", Purpose: "exercise", Label: label,
			FileName: canaryName, MediaType: "application/pdf"}
	}
	sent, err := sender.Send(ctx, sub("TLP:AMBER"), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range sent.GetExchanges() {
		if _, err := sender.Await(ctx, ref, func(x *ententev1.Exchange) bool { return x.GetState() == "delivered" }); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		var got bytes.Buffer
		opened, err := reader.Open(ctx, sent.GetExchanges()[0], func(*ententev1.Opened) (io.Writer, error) { return &got, nil })
		if err != nil || opened.GetFileName() != canaryName || !bytes.Equal(got.Bytes(), content) {
			t.Fatalf("opened another document: %v", err)
		}
	}
	if _, err := sender.Await(ctx, sent.GetExchanges()[0], func(x *ententev1.Exchange) bool { return x.GetState() == "opened" }); err != nil {
		t.Fatal(err)
	}
	// Refusals must not tell either.
	if _, err := sender.Send(ctx, sub("TLP:RED"), bytes.NewReader(content)); fault.KindOf(err) != fault.Refused {
		t.Fatalf("not refused: %v", err)
	}
	if _, err := stranger.Open(ctx, sent.GetExchanges()[1], nil); fault.KindOf(err) != fault.Refused {
		t.Fatalf("not refused: %v", err)
	}
	for _, name := range []string{"../" + canaryName, canaryName + "\u202e", canaryName + strings.Repeat("x", 300), "\xff" + canaryName} {
		misnamed := sub("TLP:AMBER")
		misnamed.FileName = name
		if _, err := sender.Send(ctx, misnamed, bytes.NewReader(content)); err == nil {
			t.Fatalf("not refused: %q", name)
		}
	}
	// A sending that breaks off leaves nothing in clear behind.
	broken, cancel := context.WithCancel(ctx)
	if _, err := sender.Send(broken, sub("TLP:AMBER"), breaking{bytes.NewReader(content), cancel}); err == nil {
		t.Fatal("a broken sending succeeded")
	}
}

// as connects somebody to their node until the test ends.
func as(t *testing.T, w *lab.World, member, person string) *client.Client {
	t.Helper()
	c, err := w.Client(member, person)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// breaking is a document whose reading breaks off at its end.
type breaking struct {
	*bytes.Reader
	stop func()
}

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		b.stop()
		return n, errors.New("the disk is gone")
	}
	return n, nil
}

// keyMaterial reads every secret key of a member.
func keyMaterial(t *testing.T, w *lab.World, member string) (list []canary) {
	t.Helper()
	patterns := []string{filepath.Join(w.Home(member), "keys", "*"), filepath.Join(w.Home(member), "people", "*.key"), filepath.Join(w.Dir, "recovery", member+".key")}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no keys at %s: %v", pattern, err)
		}
		for _, path := range paths {
			rel, err := filepath.Rel(filepath.Dir(w.Dir), path)
			if err != nil {
				t.Fatal(err)
			}
			own := func(p string) bool { return p == rel }
			for _, secret := range secretsIn(t, path) {
				list = append(list, canary{"the key in " + rel, secret, own})
			}
		}
	}
	if len(list) < 8 {
		t.Fatalf("%s has only %d secrets; does this test still know where they are?", member, len(list))
	}
	return list
}

// secretsIn gives the secret parts of a key file, as text and as bytes.
func secretsIn(t *testing.T, path string) (secrets [][]byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(content); block != nil {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		// Not all of the file is secret: it holds the public key too.
		scalar, err := key.(*ecdsa.PrivateKey).Bytes()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return [][]byte{scalar}
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "AGE-SECRET-KEY-"):
			secrets = append(secrets, []byte(line))
		case strings.HasPrefix(line, "PRIVATE+KEY+"):
			parts := strings.SplitN(line, "+", 5) // PRIVATE, KEY, name, hash, base64
			raw, err := base64.StdEncoding.DecodeString(parts[4])
			if err != nil || len(raw) != 33 {
				t.Fatalf("%s: not a note key: %v", path, err)
			}
			secrets = append(secrets, raw[1:]) // behind the number of the algorithm
		}
	}
	if len(secrets) == 0 {
		t.Fatalf("%s: no secret in it", path)
	}
	return secrets
}

// find looks for a secret in clear, in hex, and in base64, where it may stand at any of three places of a group.
func (c canary) find(in []byte) string {
	forms := map[string][]byte{"clear": c.secret, "hex": []byte(hex.EncodeToString(c.secret)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(c.secret)))}
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString(append(make([]byte, shift), c.secret...))
		whole := text[4 : len(text)-4] // the groups at either end depend on what stands beside
		forms[fmt.Sprintf("base64, %d", shift)] = []byte(whole)
		forms[fmt.Sprintf("base64url, %d", shift)] = []byte(strings.NewReplacer("+", "-", "/", "_").Replace(whole))
	}
	for form, bytesOf := range forms {
		if bytes.Contains(in, bytesOf) {
			return form
		}
	}
	return ""
}

// searchFiles searches every file below dir.
func searchFiles(t *testing.T, dir string, canaries []canary) {
	t.Helper()
	searched := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a node has just removed it
		}
		searched++
		for _, c := range canaries {
			if form := c.find(content); form != "" && !c.allowed(rel) {
				t.Errorf("%s stands in %s (%s)", c.what, rel, form)
			}
		}
		return err
	})
	if err != nil || searched < 50 {
		t.Fatalf("searched %d files: %v", searched, err)
	}
}

// searchLeaves searches every leaf, what stands behind its commitments, and an exported log. A person's name must be
// behind a commitment, and only there.
func searchLeaves(t *testing.T, w *lab.World, dir string, canaries []canary) {
	t.Helper()
	people := []canary{{what: "a person's name", secret: []byte(canarySender)}, {what: "a person's name", secret: []byte(canaryReader)}}
	committed := 0
	for _, m := range w.Names {
		h, err := w.Open(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		err = h.DB.View(t.Context(), func(v *store.View) error {
			leaves, err := v.Leaves(0, 1000)
			for i, leaf := range leaves {
				for _, c := range slices.Concat(canaries, people) {
					if form := c.find(leaf); form != "" {
						t.Errorf("%s stands in leaf %d of %s (%s): %s", c.what, i, m, form, leaf)
					}
				}
				private, err := v.Private(int64(i))
				if err != nil {
					return err
				}
				for _, p := range private {
					for _, c := range canaries {
						if form := c.find(p.Value); form != "" {
							t.Errorf("%s stands behind leaf %d of %s, in %s (%s)", c.what, i, m, p.Field, form)
						}
					}
					if value := string(p.Value); p.Field == "person" && (strings.HasSuffix(value, "/person/"+canarySender) || strings.HasSuffix(value, "/person/"+canaryReader)) {
						committed++
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		export := filepath.Join(dir, "export-"+m)
		if _, err := audit.Export(t.Context(), h.DB, audit.Keys{Ed25519: h.Keys.Log, MLDSA: h.Keys.LogMLDSA}.Verifiers(), export); err != nil {
			t.Fatal(err)
		}
		searchExport(t, export, people)
	}
	if committed < 4 { // released, denied, opened, reopened, denied
		t.Errorf("only %d leaves commit to the name of a person", committed)
	}
}

func searchExport(t *testing.T, dir string, people []canary) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, c := range people {
			if form := c.find(content); form != "" {
				t.Errorf("%s stands in %s (%s)", c.what, path, form)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCanariesAreFound keeps TestCanaries able to fail.
func TestCanariesAreFound(t *testing.T) {
	t.Parallel()
	c := canary{secret: []byte(canaryName)}
	for shift := range 4 {
		padded := append(make([]byte, shift), canaryName+"and more"...)
		for _, text := range []string{string(padded), hex.EncodeToString(padded), base64.StdEncoding.EncodeToString(padded), base64.RawURLEncoding.EncodeToString(padded)} {
			if c.find([]byte("before "+text+" after")) == "" {
				t.Errorf("not found in %q", text)
			}
		}
	}
	if form := c.find([]byte("canary-wombat ledger.pdf")); form != "" {
		t.Errorf("found where it is not, in %s", form)
	}
}
