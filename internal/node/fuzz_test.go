package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// A founding file that is read is the only way to write what it says, and its founders are those of the charter.
func FuzzReadFounding(f *testing.F) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", "founding.md"))
	if err != nil {
		f.Fatal(err)
	}
	_, rest, _ := bytes.Cut(doc, []byte("\n```text\n"))
	example, _, ok := bytes.Cut(rest, []byte("```\n"))
	if _, err := ReadFounding(example); err != nil || !ok {
		f.Fatalf("the example of docs/formats/founding.md: %v", err)
	}
	f.Add(example)
	f.Add(bytes.Replace(example, []byte("cards/bravo"), []byte("cards/alpha"), 1))
	f.Add(append(bytes.Clone(example), "-- cards/bravo --\n"...))
	f.Add([]byte(foundingComment))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := ReadFounding(file)
		if err != nil {
			wantFault(t, err, fault.Invalid)
			return
		}
		if again := packFounding(got.Charter.Raw, got.Cards); !bytes.Equal(again, file) {
			t.Errorf("read, and written again as another text:\n%s\nwas:\n%s", again, file)
		}
		var names []string
		for i, c := range got.Cards {
			names = append(names, c.Terms.Member)
			if want := statement.Fingerprint(c.Hash); got.Founders[i].Fingerprint != want || got.Founders[i].Name != c.Terms.Member {
				t.Errorf("founder %d is %+v, and the card is %s of %s", i, got.Founders[i], want, c.Terms.Member)
			}
		}
		var listed []string
		for _, m := range got.Charter.Terms.Members {
			listed = append(listed, m.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, listed) {
			t.Errorf("cards of %v, and the charter lists %v", names, listed)
		}
	})
}

// A configuration that is read passes its own check, and what init would write for it reads as the same.
func FuzzReadConfig(f *testing.F) {
	f.Add(Config{Member: "alpha", Address: "alpha.example:7443", PeerListen: ":7443", NodeListen: DefaultNodeAddress, PeerBytes: 1}.text())
	f.Add(Config{Member: "alpha", Address: "[::1]:7443", PeerListen: "[::1]:7443", NodeListen: "localhost:0", Jurisdiction: "NL", PeerBytes: 1 << 40}.text())
	f.Add([]byte("member = 'alpha'\naddress = \"\"\"a:1\"\"\"\npeer_listen = \":\\u0031\"\nnode_listen = \":1\"\npeer_bytes = 0x10\n"))
	f.Add([]byte("member = \"alpha\"\nunknown = 1\n"))
	f.Add([]byte{})
	dir := f.TempDir()
	read := func(t *testing.T, text []byte) (Config, error) {
		if err := os.WriteFile(filepath.Join(dir, ConfigFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return ReadConfig(dir)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := read(t, text)
		if err != nil {
			return
		}
		if err := c.check(); err != nil {
			t.Errorf("read, and not valid: %v", err)
		}
		if again, err := read(t, c.text()); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v was written as\n%s\nand read as %+v, %v", c, c.text(), again, err)
		}
	})
}

// Nobody is entitled by a file of people who does not stand in it, in a role that there is; and one more entry, as
// `person add` appends it, adds one person or is noticed.
func FuzzReadPeople(f *testing.F) {
	entry := "\n[[person]]\nname = \"alice\"\nroles = [\"releaser\", \"reader\"]\nlabels = [\"TLP:RED\", \"NAVY:SECRET/CRYPTO\"]\ntrained_until = 2027-11-23\n"
	f.Add([]byte("[[person]]\nname = \"alice\"\ntrained_until = \"2027-11-23\"\nlabels = [\"TLP:RED\"]\n# about bob\n[[person]]\nname = \"bob\"\n"))
	f.Add([]byte(peopleComment + entry))
	f.Add([]byte(entry + strings.ReplaceAll(entry, "alice", "bob")))
	f.Add([]byte(entry + entry))
	f.Add([]byte(`person = [{name = "alice", roles = ["reader"]}]`))
	f.Add([]byte("[[person]]\nname = \"alice\"\nroles = [\"emperor\"]\n"))
	f.Add([]byte{})
	dir := f.TempDir()
	write := func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, PeopleFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		write(t, text)
		got, err := readPeople(dir)
		if err != nil {
			if p, err := person(dir, "alice"); err == nil {
				t.Errorf("a file that cannot be read entitles %+v", p)
			}
			return
		}
		var names []string
		for _, p := range got.Person {
			if err := statement.ValidPerson(p.Name); err != nil || slices.Contains(names, p.Name) {
				t.Errorf("read %+v: %v", got.Person, err)
			}
			names = append(names, p.Name)
			found, err := person(dir, p.Name)
			if err != nil || !slices.Equal(found.Roles, p.Roles) {
				t.Errorf("%+v is entitled as %+v, %v", p, found, err)
			}
			for _, r := range p.Roles {
				if !slices.Contains(Roles, r) {
					t.Errorf("%s has the role %q", p.Name, r)
				}
			}
		}
		for nth, name := range names {
			left, err := withoutPerson(text, name)
			if err != nil {
				wantFault(t, err, fault.Misused)
				continue
			}
			after, err := parsePeople(left)
			if err != nil || len(after.Person) != len(names)-1 || !reflect.DeepEqual(append([]personEntry{}, after.Person...), slices.Delete(slices.Clone(got.Person), nth, nth+1)) {
				t.Errorf("without %s, %+v became %+v, %v", name, got.Person, after.Person, err)
			}
		}
		if slices.Contains(names, "mallory") {
			return
		}
		if _, err := person(dir, "mallory"); err == nil {
			t.Error("entitled, and not listed")
		}
		write(t, append(bytes.Clone(text), strings.ReplaceAll(entry, "alice", "mallory")...))
		after, err := readPeople(dir)
		if err == nil && (len(after.Person) != len(names)+1 || !reflect.DeepEqual(after.Person[:len(names)], append([]personEntry{}, got.Person...))) {
			t.Errorf("one more entry made %+v of %+v", after.Person, got.Person)
		}
	})
}

func wantFault(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Kind != kind {
		t.Errorf("the error is of another kind than %v: %v", kind, err)
	}
}
