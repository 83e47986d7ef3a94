package statement_test

import (
	"strings"
	"testing"

	"entente.example/internal/statement"
)

// fileNames are names that a document may and may not have. Both lists grow with what people and attackers think of.
var fileNames = struct{ good, bad []string }{
	good: []string{
		"report.pdf", "a", "Bericht März 2026.odt", "レポート.pdf", "отчёт.docx", "تقرير.pdf", "समाचार.txt", "한국어.hwp", "Ελληνικά.txt",
		"archive.tar.gz", ".gitignore", "no-extension", "-rf", "a b  c.txt", "100% sure & more (final) [2].pdf", "it's.txt",
		"$HOME.txt", "~", "#1.txt", "semi;colon.txt", "tilde~1.txt", "naïve.txt", "nai\u0308ve.txt", "📄.pdf",
		"console.log", "CONTRACT.pdf", "COM.txt", "COM10.txt", "LPTX.txt", "COMA.pdf", "auxiliary.txt", "null", "a.con", "prn_report.pdf",
		"a..b", "..a", "a\u00a0b.txt", "…", "①.txt", strings.Repeat("a", 255), strings.Repeat("é", 127) + "x",
	},
	bad: []string{
		"", ".", "..", "...", "a.", "a..", " a", "a ", "\u00a0a", "a\u3000", "/", "\\", "/etc/passwd", "../secret", "..\\secret", "a/../b", "up/secret", "a\\b",
		"C:", "C:\\x", "C:x.txt", "report.pdf:stream", "\\\\server\\share", `"quoted".txt`, "what?.txt", "a<b", "a>b", "a|b", "a*b", "\\\\?\\C:\\x",
		"NUL", "nul", "NUL.txt", "Con", "con.tar.gz", "PRN", "AUX.h", "COM1", "com9.txt", "COM0", "COM¹", "LPT1", "lpt³.txt", "CONIN$", "conout$", "NUL .txt", "aux .c",
		"a\x00.txt", "a\nb", "a\rb", "a\tb", "a\x1b[31mb", "a\x7fb", "a\u0085b", "a\u009bb", "a\u2028b", "a\u2029b",
		"txt.\u202efdp.exe", "a\u202ab", "a\u2066b\u2069", "a\u200eb", "a\u200fb", "a\u061cb",
		"a\u200bb", "a\u200cb", "a\u200db", "a\u2060b", "\ufeffa", "a\u00adb", "a\u180eb", "a\U000e0041b", "a\u3164b", "a\u115fb", "a\u034fb", "a\u2064b",
		"a\ue000b", "a\U000f0000b", "a\ufffdb", "a\ufffeb", "a\U0001ffffb", "a\xffb", "a\xed\xa0\x80b", "a\xc0\xafb",
		strings.Repeat("a", 256), strings.Repeat("a", 300), strings.Repeat("é", 128),
	},
}

func TestValidFileName(t *testing.T) {
	t.Parallel()
	if n := len(fileNames.good) + len(fileNames.bad); n < 60 {
		t.Errorf("the corpus has %d names", n)
	}
	judge(t, statement.ValidFileName, fileNames.good, fileNames.bad)
}

func TestValidAddress(t *testing.T) {
	t.Parallel()
	judge(t, statement.ValidAddress,
		[]string{
			"alpha.example:7443", "localhost:1", "a:65535", "127.0.0.1:7443", "0.0.0.0:1", "[::1]:7443", "[2001:db8::7]:443", "xn--bcher-kva.example:7443",
			"1a.example:1", "1.example:1", "a-b.c-d.example:1", strings.Repeat("a", 63) + ".example:7443",
		},
		[]string{
			"", ":", ":7443", "alpha", "alpha:", "alpha:0", "alpha:65536", "alpha:+1", "alpha:01", "alpha:-1", "alpha:http", "alpha:7443 ", " alpha:7443",
			"Alpha:7443", "alpha..example:1", ".alpha:1", "alpha.:1", "-alpha:1", "alpha-:1", "al_pha:1", "bücher.example:1", "alpha:7443/x", "https://alpha:7443",
			"::1:7443", "[::1]", "[::1:7443", "[::1]7443", "[127.0.0.1]:1", "[::ffff:127.0.0.1]:1", "[fe80::1%eth0]:1", "[::1%\x1b[31m]:1", "[0::1]:1", "[::A]:1", "[]:1",
			"127.0.0.01:1", "127.1:1", "2130706433:1", "256.0.0.1:1", "1.2.3.4.5:1", "0177.0.0.1:1",
			strings.Repeat("a", 64) + ".example:1", strings.Repeat("a.", 130) + "example:1", "alpha\n:1", "alpha\u200b:1",
		})
}

func TestValidMember(t *testing.T) {
	t.Parallel()
	good := []string{"a", "alpha", "a1", "a-b", "a--b", "harbour-master-7", strings.Repeat("a", 32)}
	bad := []string{"", "-", "1", "1a", "-a", "a-", "A", "Alpha", "a b", "a.b", "a_b", "a/b", "a:b", "ä", "а", "a\n", "a\x00", "a\u200b", strings.Repeat("a", 33)}
	judge(t, statement.ValidMember, good, bad)
	judge(t, statement.ValidPerson, good, bad)
	judge(t, statement.ValidName, append(good, strings.Repeat("a", 64)), append(bad[:len(bad)-1:len(bad)-1], strings.Repeat("a", 65)))
}

func TestValidLabel(t *testing.T) {
	t.Parallel()
	judge(t, statement.ValidLabel, []string{"TLP:AMBER+STRICT", "x", "~!#$%&'()*+,-./:;<=>?@[]^_`{|}", strings.Repeat("x", 64)},
		[]string{"", " ", "a b", `a"b`, `a\b`, "a\n", "é", "a\x7f", strings.Repeat("x", 65)})
}

func TestValidLog(t *testing.T) {
	t.Parallel()
	judge(t, func(s string) error { return statement.ValidLog(s, "alpha") }, []string{"alpha/log/1", "alpha/log/2147483647"},
		[]string{"", "alpha", "alpha/log", "alpha/log/", "alpha/log/0", "alpha/log/01", "alpha/log/+1", "alpha/log/-1", "alpha/log/1 ", "alpha/log/1/2",
			"alpha/log/2147483648", "bravo/log/1", "alpha/logs/1", "Alpha/log/1", "alpha/log/１"})
}

func judge(t *testing.T, valid func(string) error, good, bad []string) {
	t.Helper()
	for _, s := range good {
		if err := valid(s); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
	for _, s := range bad {
		err := valid(s)
		if err == nil {
			t.Errorf("accepted: %q", s)
			continue
		}
		if said := err.Error(); len(said) > 500 || strings.ContainsFunc(said, func(r rune) bool { return r < ' ' || r == 0x9b || r == 0x202e }) {
			t.Errorf("the refusal of %q is not fit for a terminal: %q", s, said)
		}
	}
}

func TestParseHash(t *testing.T) {
	t.Parallel()
	h := hashOf("x")
	if got, err := statement.ParseHash(h.String()); err != nil || got != h || got.IsZero() {
		t.Errorf("%v, %v", got, err)
	}
	s := h.String()
	for _, bad := range []string{"", s[1:], s + "0", strings.ToUpper(s), "0x" + s[2:], " " + s[1:], "g" + s[1:], strings.Repeat("é", 32)} {
		if _, err := statement.ParseHash(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
		if err := new(statement.Hash).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	if got, want := statement.Fingerprint(statement.HashBytes(nil)), "e3b0 c442 98fc 1c14 9afb f4c8 996f b924"; got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}
