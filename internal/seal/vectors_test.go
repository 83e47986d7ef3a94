package seal

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	agetest "c2sp.org/CCTV/age"
	"entente.example/internal/statement"
	"filippo.io/age"
)

// vectorCount is how many vectors c2sp.org/CCTV/age has in the version of go.mod. A newer version with more of them
// must be looked at, not passed over.
const vectorCount = 147

// accepted are the only vectors that are unarmored, have nothing but hybrid stanzas, and are meant to succeed.
var accepted = []string{"hybrid", "hybrid_multiple_recipients"}

// vector is one file of the test suite that age implementations share.
type vector struct {
	name        string
	expect      string // success, HMAC failure, header failure, armor failure, payload failure, no match
	payloadHash []byte
	fileKey     []byte
	keys        []*Key // its hybrid identities; a key of ours if it has none
	armored     bool
	file        []byte
}

func vectors(t testing.TB) []vector {
	t.Helper()
	entries, err := fs.ReadDir(agetest.Vectors, ".")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for _, e := range entries {
		b, err := fs.ReadFile(agetest.Vectors, e.Name())
		if err != nil {
			t.Fatal(err)
		}
		v, err := parseVector(e.Name(), b)
		if err != nil {
			t.Fatalf("vector %s: %v", e.Name(), err)
		}
		all = append(all, v)
	}
	if len(all) != vectorCount {
		t.Fatalf("%d vectors, want %d", len(all), vectorCount)
	}
	return all
}

func parseVector(name string, b []byte) (vector, error) {
	v := vector{name: name}
	var err error
	for compressed := false; ; {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return v, errors.New("no file")
		}
		b = rest
		if len(line) == 0 {
			v.file = b
			if compressed {
				r, err := zlib.NewReader(bytes.NewReader(b))
				if err != nil {
					return v, err
				}
				v.file, err = io.ReadAll(r)
				if err != nil {
					return v, err
				}
			}
			break
		}
		key, value, _ := strings.Cut(string(line), ": ")
		switch key {
		case "expect":
			v.expect = value
		case "payload":
			v.payloadHash, err = hex.DecodeString(value)
		case "file key":
			v.fileKey, err = hex.DecodeString(value)
		case "identity":
			if k, err := ParseKey(value); err == nil {
				v.keys = append(v.keys, k)
			}
		case "armored":
			v.armored = true
		case "compressed":
			compressed = true
		case "passphrase", "comment":
		default:
			return v, fmt.Errorf("unknown key %q", key)
		}
		if err != nil {
			return v, err
		}
	}
	if v.keys == nil {
		v.keys = keys(1)
	}
	return v, nil
}

// split cuts a file into header and payload, also a broken one: behind the line that begins with "---", if there is one.
func split(file []byte) (header, payload []byte) {
	if h, err := age.ExtractHeader(bytes.NewReader(file)); err == nil && bytes.HasPrefix(file, h) {
		return h, file[len(h):]
	}
	at := bytes.Index(file, []byte("\n---"))
	if at < 0 {
		return file, nil
	}
	end := bytes.IndexByte(file[at+1:], '\n')
	if end < 0 {
		return file, nil
	}
	return file[:at+1+end+1], file[at+1+end+1:]
}

// stanzaTypes looks at a header with eyes other than those of the package.
func stanzaTypes(header []byte) []string {
	var types []string
	for line := range strings.SplitSeq(string(header), "\n") {
		if rest, ok := strings.CutPrefix(line, "-> "); ok {
			name, _, _ := strings.Cut(rest, " ")
			types = append(types, name)
		}
	}
	return types
}

// openBare is the package below its inner header and above age: what Verify and WriteTo do with header and payload of a
// file that is not bound to any manifest. w gets nothing until one whole pass has succeeded.
func openBare(file []byte, ks []*Key, w io.Writer) error {
	header, payload := split(file)
	fileKey, err := decryptHeader(header, len(stanzaTypes(header)), ks)
	if err != nil {
		return err
	}
	f := newFile(header, fileKey, bytes.NewReader(payload), int64(len(payload)), statement.HashBytes(payload))
	if err := f.check(); err != nil {
		return err
	}
	for _, dst := range []io.Writer{io.Discard, w} {
		r, err := f.open()
		if err != nil {
			return err
		}
		if _, err := io.Copy(dst, r); err != nil {
			return err
		}
	}
	return nil
}

// Every age vector: an unarmored file with only hybrid stanzas gives what the vector says, and everything else is
// refused, also where age accepts it (armor, X25519, scrypt, grease and mixed stanzas).
func TestVectorsBare(t *testing.T) {
	t.Parallel()
	ran := 0
	var opened []string
	for _, v := range vectors(t) {
		ran++
		var got bytes.Buffer
		err := openBare(v.file, v.keys, &got)
		header, _ := split(v.file)
		hybrid := !v.armored && len(stanzaTypes(header)) > 0 && !slices.ContainsFunc(stanzaTypes(header), func(s string) bool { return s != "mlkem768x25519" })
		if err == nil {
			opened = append(opened, v.name)
			if hash := statement.HashBytes(got.Bytes()); v.expect != "success" || !bytes.Equal(hash[:], v.payloadHash) {
				t.Errorf("%s: opened %s, want %s with payload %x", v.name, hash, v.expect, v.payloadHash)
			}
			continue
		}
		if got.Len() != 0 {
			t.Errorf("%s: released %d bytes", v.name, got.Len())
		}
		want := ErrUndecryptable
		if hybrid && v.expect == "no match" {
			want = ErrNotForUs
		}
		if !errors.Is(err, want) {
			t.Errorf("%s (%s): got %v, want %v", v.name, v.expect, err, want)
		}
		if hybrid && v.expect == "success" {
			t.Errorf("%s: refused: %v", v.name, err)
		}
	}
	if ran != vectorCount || !slices.Equal(opened, accepted) {
		t.Errorf("%d vectors ran and %q opened, want %d and %q", ran, opened, vectorCount, accepted)
	}
}

// The vectors for payloads have classic headers. Behind a hybrid header for the same file key they must do what they say.
func TestVectorsStream(t *testing.T) {
	t.Parallel()
	ran, failed := 0, 0
	for _, v := range vectors(t) {
		if !strings.HasPrefix(v.name, "stream_") {
			continue
		}
		ran++
		_, payload := split(v.file)
		header := headerOf(t, v.fileKey, keys(1)[0].identity.Recipient())
		var got bytes.Buffer
		err := openBare(append(bytes.Clone(header), payload...), keys(1), &got)
		if v.expect == "success" {
			if hash := statement.HashBytes(got.Bytes()); err != nil || !bytes.Equal(hash[:], v.payloadHash) {
				t.Errorf("%s: opened %s, %v, want %x", v.name, hash, err, v.payloadHash)
			}
			continue
		}
		failed++
		if !errors.Is(err, ErrUndecryptable) || got.Len() != 0 {
			t.Errorf("%s (%s): released %d bytes, %v", v.name, v.expect, got.Len(), err)
		}
		verifyFails(t, v.name+" behind a hybrid header", header, payload, keys(1))
	}
	if ran < 20 || failed < 15 {
		t.Errorf("only %d payload vectors ran, %d of them failing", ran, failed)
	}
}

// Every vector again, in a manifest that is valid for it. None of them names the manifest's core, so none may open.
func TestVectorsInManifests(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, v := range vectors(t) {
		ran++
		header, payload := split(v.file)
		verifyFails(t, v.name, header, payload, v.keys)
	}
	if ran != vectorCount {
		t.Errorf("%d vectors ran, want %d", ran, vectorCount)
	}
}

// verifyFails signs a manifest for header and payload, with the right number of recipients, and opens it.
func verifyFails(t *testing.T, name string, header, payload []byte, ks []*Key) {
	t.Helper()
	m := draftFor(header, ks)
	m.Content = statement.Content{
		CiphertextHash: statement.HashBytes(payload), CiphertextSize: int64(len(payload)),
		HeaderHash: statement.HashBytes(header), Commitment: "hmac-sha256:" + strings.Repeat("0", 64),
	}
	d, err := Verify(header, bytes.NewReader(payload), sign(t, m), ks...)
	if d != nil || !errors.Is(err, ErrUndecryptable) && !errors.Is(err, ErrNotForUs) {
		t.Errorf("%s: document %v, error %v", name, d, err)
	}
}

// draftFor is a manifest with as many recipients as the header has stanzas.
func draftFor(header []byte, ks []*Key) statement.Manifest {
	to := slices.Clone(ks)
	for len(to) < min(len(stanzaTypes(header)), 64) {
		to = append(to, keys(65)[len(to)])
	}
	return draft(to...)
}

// The headers again, this time with everything else right: under the vector's file key stands a payload with the
// right inner header, and the manifest commits to it. Only the header is left to be refused for.
func TestVectorsHeaderOnly(t *testing.T) {
	t.Parallel()
	var opened []string
	ran := 0
	for _, v := range vectors(t) {
		if v.armored || len(v.fileKey) != 16 {
			continue
		}
		ran++
		header, _ := split(v.file)
		m := draftFor(header, v.keys)
		in, salt, doc := Inner{m.Core(), "report.pdf", "application/pdf"}, Salt{1, 2, 3}, text(1000)
		payload := streamOf(t, v.fileKey, append(in.render(&salt), doc...))
		mac := newCommitment(salt, in)
		mac.Write(doc)
		m.Content = statement.Content{
			CiphertextHash: statement.HashBytes(payload), CiphertextSize: int64(len(payload)),
			HeaderHash: statement.HashBytes(header), Commitment: commitment(mac),
		}
		d, err := Verify(header, bytes.NewReader(payload), sign(t, m), v.keys...)
		if err == nil {
			opened = append(opened, v.name)
			var got bytes.Buffer
			if _, err := d.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), doc) {
				t.Errorf("%s: released %d bytes, %v", v.name, got.Len(), err)
			}
		} else if d != nil || !errors.Is(err, ErrUndecryptable) && !errors.Is(err, ErrNotForUs) {
			t.Errorf("%s: document %v, error %v", v.name, d, err)
		}
	}
	if ran < 50 || !slices.Equal(opened, accepted) {
		t.Errorf("%d vectors ran and %q opened, want %q", ran, opened, accepted)
	}
}
