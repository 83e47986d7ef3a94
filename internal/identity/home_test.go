package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

var now = time.Date(2026, 11, 23, 9, 12, 44, 0, time.UTC)

// created makes a home, and returns it with its keys and the folder of its recovery key.
func created(t *testing.T, name string) (dir, apart string, keys *Keys, recovery *statement.Key) {
	t.Helper()
	dir, apart = filepath.Join(t.TempDir(), "home"), t.TempDir()
	keys, recovery, err := Create(dir, apart, name, now)
	if err != nil {
		t.Fatal(err)
	}
	return dir, apart, keys, recovery
}

// wantFault checks the kind of an error, that its sentence has a part, and its hint another.
func wantFault(t *testing.T, err error, kind fault.Kind, text, hint string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) || !strings.Contains(fault.Hint(err), hint) {
		t.Errorf("got %v (%s, hint %q), want %s with %q and a hint with %q", err, fault.KindOf(err), fault.Hint(err), kind, text, hint)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	dir, apart, keys, recovery := created(t, "alpha")
	for name, key := range map[string]*statement.Key{"alpha/statement": keys.Statement, "alpha/log/1": keys.Log, "alpha/witness": keys.Witness, "alpha/recovery": recovery} {
		if key.Name() != name {
			t.Errorf("key %s is named %s", name, key.Name())
		}
	}
	id, err := age.ParseHybridIdentity(keys.Sealing[0].Reveal())
	if err != nil || id.Recipient().String() != keys.SealingRecipients[0] || len(keys.Sealing) != 1 {
		t.Errorf("sealing key: %v", err)
	}
	if raw, err := os.ReadFile(filepath.Join(apart, "alpha.key")); err != nil || strings.TrimSpace(string(raw)) != recovery.Reveal() {
		t.Errorf("recovery key was not written: %v", err)
	}
	if key, err := loadKey(filepath.Join(apart, "alpha.key")); err != nil || key.Public != recovery.Public {
		t.Errorf("recovery key cannot be read back: %v", err)
	}

	var files []string
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		} else {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, filepath.ToSlash(rel))
			raw, _ := os.ReadFile(path)
			if bytes.Contains(raw, []byte(recovery.Reveal())) {
				t.Errorf("%s holds the recovery key", path)
			}
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	want := []string{"certs/ca.pem", "certs/node.pem", "keys/ca.key", "keys/log-mldsa.key", "keys/log.key", "keys/node.key", "keys/sealing.key", "keys/statement.key", "keys/witness-mldsa.key", "keys/witness.key"}
	if err != nil || !slices.Equal(files, want) {
		t.Errorf("the home holds %v, want %v (%v)", files, want, err)
	}
	if left, _ := filepath.Glob(dir + ".new-*"); left != nil {
		t.Errorf("left behind: %v", left)
	}

	again, err := Load(dir, "alpha")
	if err != nil || again.Statement.Public != keys.Statement.Public || !bytes.Equal(again.CA, keys.CA) {
		t.Errorf("loaded something else: %v", err)
	}
	if end, soon := ExpiresSoon(keys.Node, now); soon || !end.Equal(now.Add(limit.CertificateLife)) {
		t.Errorf("the node's certificate ends at %s (soon: %v)", end, soon)
	}
	if _, soon := ExpiresSoon(keys.Node, now.Add(limit.CertificateLife-limit.CertificateWarning+time.Second)); !soon {
		t.Error("no warning 30 days before the end")
	}
}

func TestCreatedKeysSignACard(t *testing.T) {
	t.Parallel()
	_, _, k, recovery := created(t, "alpha")
	card := statement.Card{Member: "alpha", Version: 1, Created: now, Address: "alpha.example:7443",
		Statement: k.Statement.Public, Recovery: recovery.Public, Log: k.Log.Public, Witness: k.Witness.Public,
		LogMLDSA: k.LogMLDSA.Public, WitnessMLDSA: k.WitnessMLDSA.Public,
		CA: string(k.CA), Sealing: []statement.SealingKey{{Epoch: 1, Recipient: k.SealingRecipients[0]}}}
	if _, err := statement.Sign(card, k.Statement, recovery, k.Log, k.Witness); err != nil {
		t.Error(err)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	full, apart, _, _ := created(t, "alpha")
	for name, test := range map[string]struct {
		dir, apart, member string
		kind               fault.Kind
		text               string
	}{
		"a home that exists":             {full, t.TempDir(), "alpha", fault.Conflict, "is not empty"},
		"a recovery key that exists":     {filepath.Join(t.TempDir(), "h"), apart, "alpha", fault.Conflict, "there is a recovery key already"},
		"a recovery key in the home":     {filepath.Join(t.TempDir(), "h"), "", "alpha", fault.Misused, "must not lie in the home"},
		"a recovery key below the home":  {filepath.Join(t.TempDir(), "h"), "recovery/usb", "alpha", fault.Misused, "must not lie in the home"},
		"a name that is none":            {filepath.Join(t.TempDir(), "h"), t.TempDir(), "Alpha", fault.Misused, "lower-case"},
		"a name that leads somewhere":    {filepath.Join(t.TempDir(), "h"), t.TempDir(), "../alpha", fault.Misused, "lower-case"},
		"a home where a file is":         {filepath.Join(full, "certs", "ca.pem"), t.TempDir(), "alpha", fault.Failed, "look at home"},
		"a home below a file":            {filepath.Join(full, "certs", "ca.pem", "x"), t.TempDir(), "alpha", fault.Failed, "home"},
		"a recovery folder below a file": {filepath.Join(t.TempDir(), "h"), filepath.Join(full, "certs", "ca.pem", "x"), "alpha", fault.Failed, "recovery key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !filepath.IsAbs(test.apart) {
				test.apart = filepath.Join(test.dir, test.apart)
			}
			_, _, err := Create(test.dir, test.apart, test.member, now)
			if err == nil || fault.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.text) {
				t.Fatalf("got %v (%s)", err, fault.KindOf(err))
			}
			if test.dir != full && !strings.HasPrefix(test.dir, full) {
				if _, err := os.Stat(test.dir); err == nil {
					t.Errorf("a home was left behind")
				}
			}
			if entries, _ := os.ReadDir(test.apart); test.apart != apart && len(entries) > 0 {
				t.Errorf("a recovery key was left behind")
			}
		})
	}
	t.Run("but takes an empty folder", func(t *testing.T) {
		t.Parallel()
		if _, _, err := Create(t.TempDir(), t.TempDir(), "alpha", now); err != nil {
			t.Error(err)
		}
	})
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	_, _, other, _ := created(t, "bravo")
	for name, test := range map[string]struct {
		spoil func(t *testing.T, dir string)
		kind  fault.Kind
		text  string
		hint  string
	}{
		"a key that its group may read":         {chmod("keys/statement.key", 0o640), fault.Forbidden, "its mode is 0640", "chmod 600 "},
		"a key that others may read":            {chmod("keys/sealing.key", 0o604), fault.Forbidden, "its mode is 0604", "sealing.key"},
		"a key that others may write":           {chmod("keys/node.key", 0o622), fault.Forbidden, "its mode is 0622", "chmod 600 "},
		"the authority's key, readable":         {chmod("keys/ca.key", 0o644), fault.Forbidden, "its mode is 0644", "ca.key"},
		"a key that it does not know":           {chmod("keys/old.key", 0o644), fault.Forbidden, "its mode is 0644", "chmod 600 "},
		"a missing statement key":               {remove("keys/statement.key"), fault.NotFound, "there is no file", "entente init"},
		"a missing sealing key":                 {remove("keys/sealing.key"), fault.NotFound, "sealing.key", "bring the file back"},
		"a missing node key":                    {remove("keys/node.key"), fault.NotFound, "node.key", "bring the file back"},
		"a missing authority":                   {remove("certs/ca.pem"), fault.NotFound, "ca.pem", "bring the file back"},
		"no keys at all":                        {remove("keys"), fault.NotFound, "there are no keys", "entente init NAME"},
		"an empty key":                          {write("keys/log.key", ""), fault.Invalid, "not a signing key", "put the right file back"},
		"another member's key":                  {write("keys/statement.key", other.Statement.Reveal()), fault.Invalid, `the key "bravo/statement"`, "put the right file back"},
		"a key for something else":              {swap("keys/statement.key", "keys/witness.key"), fault.Invalid, "not alpha's for this purpose", ""},
		"a huge key":                            {write("keys/log.key", strings.Repeat("x", 1<<20)), fault.Invalid, "no key or certificate is that large", ""},
		"a post-quantum key for something else": {swap("keys/log-mldsa.key", "keys/witness-mldsa.key"), fault.Invalid, `expected "alpha/log/1"`, ""},
		"an Ed25519 key for a post-quantum one": {swap("keys/witness-mldsa.key", "keys/witness.key"), fault.Invalid, "not a signing key", ""},
		"a folder for a key":                    {mkdir("keys/witness.key"), fault.Invalid, "is not a file", ""},
		"a classic sealing key":                 {write("keys/sealing.key", "AGE-SECRET-"+"KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n"), fault.Invalid, "line 1 is not an age hybrid identity", ""},
		"no sealing key in the file":            {write("keys/sealing.key", "# nothing\n"), fault.Invalid, "holds no age hybrid identity", ""},
		"another node's key":                    {write("keys/node.key", keyPEM(t)), fault.Invalid, "do not belong together", ""},
		"another member's authority":            {write("certs/ca.pem", string(other.CA)), fault.Invalid, "our own authority did not issue it", ""},
		"an authority of nobody":                {write("certs/ca.pem", "nothing"), fault.Invalid, "holds no certificate", ""},
		"another member's certificate":          {copyNode(other), fault.Invalid, "is not one certificate of spiffe://alpha/node", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _, _, _ := created(t, "alpha")
			test.spoil(t, dir)
			_, err := Load(dir, "alpha")
			if runtime.GOOS == "windows" && test.kind == fault.Forbidden {
				return // there are no such permissions
			}
			wantFault(t, err, test.kind, test.text, test.hint)
		})
	}
}

func keyPEM(t *testing.T) string {
	t.Helper()
	p, _, err := newAuthority("alpha", now)
	if err != nil {
		t.Fatal(err)
	}
	return string(p.keyPEM())
}

func chmod(name string, mode fs.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if _, err := os.Stat(path); err != nil {
			write(name, "")(t, dir)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func write(name, content string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.RemoveAll(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Fatal(err)
		}
	}
}

func mkdir(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		remove(name)(t, dir)
		if err := os.Mkdir(filepath.Join(dir, filepath.FromSlash(name)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func swap(to, from string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		raw, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(from)))
		if err != nil {
			t.Fatal(err)
		}
		write(to, string(raw))(t, dir)
	}
}

func copyNode(k *Keys) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		der, err := x509.MarshalPKCS8PrivateKey(k.Node.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		p := pair{k.Node.Certificate[0], der}
		write("keys/node.key", string(p.keyPEM()))(t, dir)
		write("certs/node.pem", string(p.certPEM()))(t, dir)
	}
}

func TestPersons(t *testing.T) {
	t.Parallel()
	dir, _, keys, _ := created(t, "alpha")
	if names, err := Persons(dir); err != nil || len(names) > 0 {
		t.Errorf("a new home has %v, %v", names, err)
	}
	for _, name := range []string{"bob", "alice"} {
		if err := keys.IssuePerson(dir, name, now); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := Persons(dir); err != nil || !slices.Equal(names, []string{"alice", "bob"}) {
		t.Errorf("got %v, %v", names, err)
	}
	cert, err := LoadPerson(dir, "alpha", "alice")
	if err != nil {
		t.Fatal(err)
	}
	cs := tls.ConnectionState{Version: tls.VersionTLS13, CurveID: tls.X25519MLKEM768, PeerCertificates: []*x509.Certificate{cert.Leaf}}
	if who, err := JudgePerson("alpha", keys.CA, cs, now); err != nil || who != (Caller{Member: "alpha", Person: "alice"}) {
		t.Errorf("judged as %v, %v", who, err)
	}

	if err := keys.IssuePerson(dir, "alice", now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	again, err := LoadPerson(dir, "alpha", "alice")
	if err != nil || !again.Leaf.NotAfter.After(cert.Leaf.NotAfter) {
		t.Errorf("issuing again did not renew the certificate: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "people", ".new-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}

	wantFault(t, keys.IssuePerson(dir, "../eve", now), fault.Misused, "lower-case", "alice")
	_, err = LoadPerson(dir, "alpha", "../../eve")
	wantFault(t, err, fault.Misused, "lower-case", "person list")
	_, err = LoadPerson(dir, "alpha", "eve")
	wantFault(t, err, fault.NotFound, "alpha has no person eve", "entente person add eve")
	chmod("people/alice.key", 0o644)(t, dir)
	if runtime.GOOS != "windows" {
		_, err = LoadPerson(dir, "alpha", "alice")
		wantFault(t, err, fault.Forbidden, "its mode is 0644", "chmod 600 "+filepath.Join(dir, "people", "alice.key"))
	}
	swap("people/bob.pem", "people/alice.pem")(t, dir)
	_, err = LoadPerson(dir, "alpha", "bob")
	wantFault(t, err, fault.Invalid, "do not belong together", "put the right files back")
	remove("keys/ca.key")(t, dir)
	wantFault(t, keys.IssuePerson(dir, "carol", now), fault.NotFound, "ca.key", "bring the file back")
}

func TestUsable(t *testing.T) {
	t.Parallel()
	dir, _, keys, _ := created(t, "alpha")
	if err := keys.IssuePerson(dir, "alice", now); err != nil {
		t.Fatal(err)
	}
	alice, err := LoadPerson(dir, "alpha", "alice")
	if err != nil {
		t.Fatal(err)
	}
	later, before := now.Add(limit.CertificateLife+time.Second), now.Add(-limit.ClockSkew-time.Second)
	if err := Usable(alice, now); err != nil {
		t.Error(err)
	}
	if err := Usable(alice, now.Add(-limit.ClockSkew)); err != nil {
		t.Errorf("an honest clock that is behind: %v", err)
	}
	wantFault(t, Usable(alice, later), fault.Failed, "the certificate of spiffe://alpha/person/alice expired at 2027-11-23T09:12:44Z", "entente person add alice")
	wantFault(t, Usable(keys.Node, later), fault.Failed, "the certificate of spiffe://alpha/node expired at 2027-11-23T09:12:44Z", "issues itself a new one")
	wantFault(t, Usable(keys.Node, before), fault.Failed, "is not valid before", "clock")
	wantFault(t, Usable(tls.Certificate{}, now), fault.Failed, "not loaded", "")
}

// TestNothingPrintsASecret prints keys in every way that fmt, slog and encoders know.
func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	_, _, keys, recovery := created(t, "alpha")
	var out bytes.Buffer
	for _, v := range []any{keys, *keys, keys.Sealing, keys.Sealing[0], keys.Statement, recovery, struct{ K *Keys }{keys}, []Keys{*keys}, map[string]Secret{"x": keys.Sealing[0]}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("keys", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("keys", "v", v)
	}
	b, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	der, err := x509.MarshalPKCS8PrivateKey(keys.Node.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"sealing": keys.Sealing[0].Reveal(), "node (DER)": string(der)}
	for name, k := range map[string]*statement.Key{"statement": keys.Statement, "log": keys.Log, "witness": keys.Witness, "recovery": recovery} {
		secrets[name] = strings.SplitN(k.Reveal(), "+", 5)[4] // PRIVATE+KEY+NAME+HASH+BASE64, which may hold a + itself
	}
	printed := strings.ToLower(out.String())
	for name, s := range secrets {
		if strings.Contains(printed, strings.ToLower(s)) || strings.Contains(printed, fmt.Sprintf("%x", s)) {
			t.Errorf("the %s key was printed", name)
		}
	}
	if !strings.Contains(printed, "[redacted]") || !strings.Contains(printed, "keys of alpha") {
		t.Error("nothing was printed")
	}
}
