package seal

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"filippo.io/age"
)

func goodInner() (Inner, Salt) {
	in := Inner{statement.HashBytes([]byte("core")), "report.pdf", "application/pdf"}
	salt := Salt{}
	for i := range salt {
		salt[i] = byte(i)
	}
	return in, salt
}

func TestInnerRoundTrip(t *testing.T) {
	t.Parallel()
	in, salt := goodInner()
	for _, name := range []string{"report.pdf", "a", "Übersicht – März.ods", "報告.pdf", "it's 50% & more.txt", strings.Repeat("n", limit.FileName)} {
		for _, mediaType := range []string{"a/b", "application/vnd.oasis.opendocument.spreadsheet", "image/svg+xml", strings.Repeat("a", 127) + "/" + strings.Repeat("b", 127)} {
			in.Name, in.MediaType = name, mediaType
			if err := in.check(); err != nil {
				t.Fatalf("%q, %q: %v", name, mediaType, err)
			}
			text := in.render(&salt)
			if len(text) > limit.Inner {
				t.Errorf("%q takes %d bytes", name, len(text))
			}
			r := bufio.NewReaderSize(bytes.NewReader(append(text, "\n\nthe document"...)), limit.Inner)
			got, gotSalt, err := readInner(r)
			if err != nil || got != in || gotSalt != salt {
				t.Errorf("%q: got %+v, %v", name, got, err)
			}
			if rest, _ := r.ReadString(0); rest != "\n\nthe document" {
				t.Errorf("the document begins %q", rest)
			}
		}
	}
}

// Every other spelling of an inner header is refused, and no error repeats what stands in it.
func TestInnerStrict(t *testing.T) {
	t.Parallel()
	in, salt := goodInner()
	good := string(in.render(&salt))
	core, digits := in.Core.String(), hex.EncodeToString(salt[:])
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	bad := map[string]string{
		"empty":                   "",
		"only an empty line":      "\n",
		"other version":           replace("v1", "v2"),
		"other type":              replace("sealed", "manifest"),
		"CRLF":                    strings.ReplaceAll(good, "\n", "\r\n"),
		"space behind":            replace("pdf\"\n", "pdf\" \n"),
		"comment":                 replace("pdf\"\n", "pdf\" # x\n"),
		"comment line":            replace("name =", "# x\nname ="),
		"space before":            replace("name =", " name ="),
		"no spaces":               replace("name = ", "name="),
		"two spaces":              replace("name = ", "name  = "),
		"tab":                     replace("name = ", "name\t= "),
		"key in upper case":       replace("name =", "Name ="),
		"quoted key":              replace("name =", `"name" =`),
		"other order":             replace("name = \"report.pdf\"\nmedia_type = \"application/pdf\"", "media_type = \"application/pdf\"\nname = \"report.pdf\""),
		"unknown key":             replace("\n\n", "\nnote = \"x\"\n\n"),
		"repeated key":            replace("\n\n", "\nname = \"report.pdf\"\n\n"),
		"missing name":            replace("name = \"report.pdf\"\n", ""),
		"missing salt":            replace("salt = \""+digits+"\"\n", ""),
		"literal string":          replace(`"report.pdf"`, `'report.pdf'`),
		"multi-line string":       replace(`"report.pdf"`, `"""report.pdf"""`),
		"escaped letter":          replace("report", `\u0072eport`),
		"escaped slash":           replace("application/", `application\/`),
		"bare quote":              replace("report", `re"port`),
		"escaped quote":           replace("report", `re\"port`),
		"two backslashes":         replace("report", `re\\port`),
		"one backslash":           replace("report", `re\port`),
		"escape at the end":       replace("report.pdf", `report.pdf\`),
		"upper-case core":         replace(core, strings.ToUpper(core)),
		"short core":              replace(core, core[2:]),
		"zero core":               replace(core, strings.Repeat("0", 64)),
		"upper-case salt":         replace(digits, strings.ToUpper(digits)),
		"short salt":              replace(digits, digits[2:]),
		"long salt":               replace(digits, digits+"00"),
		"odd salt":                replace(digits, digits[1:]),
		"empty name":              replace("report.pdf", ""),
		"path":                    replace("report.pdf", "../secret-name"),
		"absolute path":           replace("report.pdf", "/secret-name"),
		"NUL":                     replace("report.pdf", "secret-name\x00"),
		"bidi":                    replace("report.pdf", "secret-name\u202e"),
		"not UTF-8":               replace("report.pdf", "secret-name\xff"),
		"long name":               replace("report.pdf", strings.Repeat("n", 256)),
		"media type in uppercase": replace("application", "Application"),
		"media type alone":        replace("application/pdf", "application"),
		"media type parameter":    replace("application/pdf", "text/plain; a=b"),
		"endless line":            replace("report.pdf", strings.Repeat("n", limit.Inner)),
		"endless lines":           replace("name =", strings.Repeat("a = \"\"\n", limit.Inner/7)+"name ="),
		"byte order mark":         "\ufeff" + good,
	}
	for i := range good {
		bad["cut "+strings.Repeat(".", i)] = good[:i]
	}
	for name, text := range bad {
		_, _, err := readInner(bufio.NewReaderSize(strings.NewReader(text), limit.Inner))
		if !errors.Is(err, ErrUndecryptable) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, secret := range []string{"report", "secret-name", digits[:10], strings.ToUpper(digits)[:10]} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error repeats %q: %v", name, secret, err)
			}
		}
	}
}

// An inner header is refused inside a sealed document as well, and nothing comes out.
func TestInnerSealed(t *testing.T) {
	t.Parallel()
	in, salt := goodInner()
	s := send(t, []byte("x"), keys(1)...)
	fileKey := s.fileKey(t, keys(1)[0])
	in.Core = s.m.Core()
	good := string(in.render(&salt))
	for name, plain := range map[string]string{
		"nothing":           "",
		"no inner header":   "just a document\n\nof two paragraphs",
		"unfinished":        good[:len(good)-1],
		"unsafe name":       strings.Replace(good, "report", "../report", 1) + "the document",
		"other rendering":   strings.Replace(good, " = ", "=", 1) + "the document",
		"64 KiB of nothing": strings.Repeat("\x00", 1<<16) + good,
	} {
		payload := streamOf(t, fileKey, []byte(plain))
		t.Log(name)
		refuse(t, ErrUndecryptable, s.header, payload, s.resign(t, s.header, payload), keys(1)...)
	}
	payload := streamOf(t, fileKey, []byte(good+"the document"))
	refuse(t, ErrCommitment, s.header, payload, s.resign(t, s.header, payload), keys(1)...)
}

// The example of the specification is what the program writes.
func TestSpecification(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/formats/sealed.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for i, part := range strings.Split(string(b), "```\n") {
		if i%2 == 1 {
			blocks = append(blocks, part)
		}
	}
	if len(blocks) < 2 {
		t.Fatalf("the specification has %d blocks, want the plaintext and the commitment", len(blocks))
	}
	r := bufio.NewReaderSize(strings.NewReader(blocks[0]), limit.Inner)
	in, salt, err := readInner(r)
	if err != nil {
		t.Fatal(err)
	}
	mac := newCommitment(salt, in)
	if _, err := r.WriteTo(mac); err != nil {
		t.Fatal(err)
	}
	if want := "commitment = \"" + commitment(mac) + "\"\n"; !strings.Contains(blocks[1], want) {
		t.Errorf("the commitment of the example is %s", want)
	}
}

func FuzzInner(f *testing.F) {
	in, salt := goodInner()
	good := in.render(&salt)
	f.Add(good)
	f.Add(append(bytes.Clone(good), "document"...))
	in.Name = "it's.b"
	f.Add(in.render(&salt))
	f.Add(bytes.Replace(good, []byte("report"), []byte(`\u0072`), 1))
	f.Add([]byte("entente.example/sealed/v1\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(text), limit.Inner)
		in, salt, err := readInner(r)
		if err != nil {
			if !errors.Is(err, ErrUndecryptable) {
				t.Fatal(err)
			}
			return
		}
		// One text, one meaning: what was read is what is written.
		if !bytes.HasPrefix(text, in.render(&salt)) {
			t.Fatalf("%q is read as %+v", text, in)
		}
		if statement.ValidFileName(in.Name) != nil || len(in.MediaType) > limit.MediaType || in.Core.IsZero() {
			t.Fatalf("accepted %+v", in)
		}
	})
}

func FuzzCheckHeader(f *testing.F) {
	ks := keys(2)
	fileKey := bytes.Repeat([]byte{7}, 16)
	x25519, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	a, b := ks[0].identity.Recipient(), ks[1].identity.Recipient()
	f.Add(headerOf(f, fileKey, a))
	f.Add(headerOf(f, fileKey, a, b))
	f.Add(headerOf(f, fileKey, b))
	f.Add(headerOf(f, fileKey, a, x25519.Recipient()))
	f.Add([]byte("age-encryption.org/v1\n--- AAAA\n"))
	for _, v := range vectors(f) {
		if header, _ := split(v.file); len(header) < limit.Header && strings.HasPrefix(v.name, "hybrid") {
			f.Add(header)
		}
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		for n := 1; n <= 2; n++ {
			m := draft(ks[:n]...)
			m.Content.HeaderHash = statement.HashBytes(header)
			err := CheckHeader(header, &m, ks...)
			if err == nil {
				types := stanzaTypes(header)
				if len(types) != n || types[0] != "mlkem768x25519" || types[n-1] != "mlkem768x25519" {
					t.Fatalf("accepted %q for %d recipients", types, n)
				}
				if _, err := age.DecryptHeader(header, ks[0].identity, ks[1].identity); err != nil {
					t.Fatalf("accepted what age does not: %v", err)
				}
			} else if !errors.Is(err, ErrHeader) && !errors.Is(err, ErrUndecryptable) && !errors.Is(err, ErrNotForUs) {
				t.Fatal(err)
			}
			m.Content.HeaderHash[0]++
			if err := CheckHeader(header, &m, ks...); !errors.Is(err, ErrHeader) {
				t.Fatalf("hash differs: %v", err)
			}
		}
	})
}
