package statement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// amended is version 2 of agreement, with schemes, approval and a policy.
func amended() statement.Agreement {
	a := agreement()
	a.Version, a.Previous, a.ApprovalAbove = 2, hashOf("agreement"), "TLP:GREEN"
	a.Schemes = []statement.Scheme{
		{Name: "NAVY", Levels: []string{"OPEN", "RESTRICTED", "SECRET"}, Restrictive: []string{"CRYPTO"}, Permissive: []string{"EYES-ALPHA", "EYES-BRAVO"}},
		{Name: "PORT", Levels: []string{"STAFF", "MASTERS"}, Restrictive: []string{}, Permissive: []string{}},
	}
	a.Equivalents = []statement.Equivalent{{Label: "NAVY:OPEN", Means: "TLP:CLEAR"}, {Label: "NAVY:RESTRICTED", Means: "TLP:AMBER"}, {Label: "PORT:STAFF", Means: "TLP:GREEN"}}
	return a
}

// goodAgreementVectors are agreements that use all that terms have, and notices about them.
func goodAgreementVectors(t *testing.T) []*vector {
	t.Helper()
	parties := statementKeys("alpha", "bravo", "charlie")
	of := func(name, what string, kind statement.Kind, signers []string, raw []byte) *vector {
		return &vector{name: name, what: what, kind: kind, keys: public(t, signers...), expect: "ok", raw: string(raw)}
	}
	most := agreement()
	most.NoticeDays = 0
	for i := range limit.Schemes {
		s := statement.Scheme{Name: fmt.Sprintf("S%023d", i)}
		for j := range limit.Levels {
			s.Levels = append(s.Levels, fmt.Sprintf("L%023d", j))
		}
		for j := range limit.Categories {
			s.Restrictive, s.Permissive = append(s.Restrictive, fmt.Sprintf("R%023d", j)), append(s.Permissive, fmt.Sprintf("P%023d", j))
		}
		most.Schemes = append(most.Schemes, s)
	}
	approved := manifest()
	approved.Approval = statement.Approval{By: "spiffe://alpha/person/carol", At: noon.Add(time.Hour)}
	declined := withdrawal()
	declined.Kind, declined.Ends, declined.Reason = statement.Decline, time.Time{}, "ninety days are too long for us"
	atOnce := withdrawal()
	atOnce.Ends, atOnce.Reason = atOnce.At, ""
	bravo := []string{"bravo/statement"}
	return []*vector{
		of("agreement-amended", "version 2, with label schemes and approval", statement.KindAgreement, parties, signed(t, amended(), parties...)),
		of("agreement-schemes-most", "8 schemes of 16 levels and 128 categories, and no notice period", statement.KindAgreement, parties, signed(t, most, parties...)),
		of("manifest-approved", "a release that a second person approved", statement.KindManifest, []string{"alpha/statement"}, signed(t, approved, "alpha/statement")),
		of("notice-withdraw", "a withdrawal", statement.KindNotice, bravo, signed(t, withdrawal(), bravo...)),
		of("notice-withdraw-at-once", "a withdrawal without notice and without a word", statement.KindNotice, bravo, signed(t, atOnce, bravo...)),
		of("notice-decline", "a proposal that is declined", statement.KindNotice, bravo, signed(t, declined, bravo...)),
	}
}

// approvalVectors are manifests whose second key is none.
func approvalVectors(t *testing.T) []*vector {
	t.Helper()
	m := manifest()
	m.Approval = statement.Approval{By: "spiffe://alpha/person/carol", At: noon.Add(time.Hour)}
	signers := []string{"alpha/statement"}
	return signedEdits(t, statement.KindManifest, "manifest-approval", draft(t, m), public(t, signers...), signers, []textEdit{
		{"own", "approved by who released it", "field by", "person/carol", "person/alice"},
		{"stranger", "approved by somebody of another member", "field by", "alpha/person/carol", "bravo/person/carol"},
		{"nobody", "approved by nobody", "field by", "spiffe://alpha/person/carol", ""},
		{"early", "approved before it was created", "field at", "at = 2026-11-23T13:00:00Z", "at = 2026-11-23T11:59:59Z"},
		{"time", "approved in another millennium", "field at", "at = 2026-11-23T13:00:00Z", "at = 1026-11-23T13:00:00Z"},
	})
}

// versionVectors are agreements that break the chain of versions, or have times and periods that cannot be.
func versionVectors(t *testing.T) []*vector {
	t.Helper()
	signers := statementKeys("alpha", "bravo", "charlie")
	previous := "previous_sha256 = \"" + hashOf("agreement").String() + "\"\n"
	first := signedEdits(t, statement.KindAgreement, "agreement", draft(t, agreement()), public(t, signers...), signers, []textEdit{
		{"previous-of-first", "a first version with one before it", "field previous_sha256", "version = 1\n", "version = 1\n" + previous},
		{"notice-negative", "a notice period of less than nothing", "field notice_days", "notice_days = 30", "notice_days = -1"},
		{"notice-long", "a notice period of more than ten years", "field notice_days", "notice_days = 30", "notice_days = 3654"},
		{"year-9999", "an end in the year 9999", "field not_after", "not_after = 2027", "not_after = 9999"},
	})
	return slices.Concat(first, signedEdits(t, statement.KindAgreement, "agreement", draft(t, amended()), public(t, signers...), signers, []textEdit{
		{"previous-missing", "a second version without the first", "field previous_sha256", previous, ""},
		{"previous-zero", "a second version after zeros", "field previous_sha256", hashOf("agreement").String(), strings.Repeat("0", 64)},
		{"approval-quote", "a label for approval with a space", "field approval_above", `"TLP:GREEN"`, `"TLP GREEN"`},
	}))
}

// schemeVectors are label schemes that two readers could read differently.
func schemeVectors(t *testing.T) []*vector {
	t.Helper()
	signers := statementKeys("alpha", "bravo", "charlie")
	return signedEdits(t, statement.KindAgreement, "agreement-scheme", draft(t, amended()), public(t, signers...), signers, []textEdit{
		{"case", "the name of a scheme in lower case", "field scheme", `name = "NAVY"`, `name = "navy"`},
		{"twice", "two schemes of one name", "field scheme", `name = "PORT"`, `name = "NAVY"`},
		{"unsorted", "schemes that are not sorted", "field scheme", `name = "PORT"`, `name = "ARMY"`},
		{"no-levels", "a scheme without levels", "field scheme", `["STAFF", "MASTERS"]`, `[]`},
		{"level-twice", "a level twice, which is a cycle", "field scheme", `["OPEN", "RESTRICTED", "SECRET"]`, `["OPEN", "RESTRICTED", "OPEN"]`},
		{"level-case", "a level in mixed case", "field scheme", `"RESTRICTED", "SECRET"`, `"Restricted", "SECRET"`},
		{"level-separator", "a level that holds a separator", "field scheme", `"RESTRICTED", "SECRET"`, `"RESTRICTED/X", "SECRET"`},
		{"level-long", "a level of 25 characters", "field scheme", `"RESTRICTED", "SECRET"`, `"` + strings.Repeat("R", 25) + `", "SECRET"`},
		{"zero-width", "a level with a zero-width space", "character", `"RESTRICTED", "SECRET"`, "\"RE\u200bSTRICTED\", \"SECRET\""},
		{"category-twice", "a category that is restrictive and permissive", "field scheme", `["EYES-ALPHA", "EYES-BRAVO"]`, `["CRYPTO", "EYES-BRAVO"]`},
		{"category-level", "a category that is a level too", "field scheme", `restrictive = ["CRYPTO"]`, `restrictive = ["SECRET"]`},
		{"equivalent-twice", "two meanings of one label", "field equivalent", `label = "NAVY:RESTRICTED"`, `label = "NAVY:OPEN"`},
		{"equivalent-unsorted", "meanings that are not sorted", "field equivalent", `label = "NAVY:OPEN"`, `label = "NAVY:SECRET"`},
		{"equivalent-empty", "a label that means nothing", "field equivalent", `means = "TLP:AMBER"`, `means = ""`},
	})
}

// noticeVectors are notices that contradict themselves.
func noticeVectors(t *testing.T) []*vector {
	t.Helper()
	signers := []string{"bravo/statement"}
	ends := "ends = 2027-02-22T12:00:00Z\n"
	declined := withdrawal()
	declined.Kind, declined.Ends = statement.Decline, time.Time{}
	silent := "reason = \"" + declined.Reason + "\"\n"
	decline := signedEdits(t, statement.KindNotice, "notice", draft(t, declined), public(t, signers...), signers, []textEdit{
		{"decline-ends", "a proposal that is declined from a day on", "field ends", "reason = ", ends + "reason = "},
		{"decline-silent", "a proposal that is declined without a word", "field reason", silent, ""},
	})
	return append(decline, signedEdits(t, statement.KindNotice, "notice", draft(t, withdrawal()), public(t, signers...), signers, []textEdit{
		{"kind", "a kind that does not exist", "field kind", `"withdraw"`, `"terminate"`},
		{"from", "a notice from somebody else", "signers", `from = "bravo"`, `from = "delta"`},
		{"to-self", "a notice to oneself", "field to", `["alpha", "charlie"]`, `["alpha", "bravo"]`},
		{"to-nobody", "a notice to nobody", "field to", `["alpha", "charlie"]`, `[]`},
		{"version", "version 0", "field version", "version = 1", "version = 0"},
		{"agreement", "no agreement", "field agreement_sha256", hashOf("agreement").String(), strings.Repeat("0", 64)},
		{"no-end", "a withdrawal that never takes effect", "field ends", ends, ""},
		{"ends-early", "a withdrawal that has taken effect before it was said", "field ends", "ends = 2027", "ends = 2026"},
		{"reason-lines", "a reason of two lines", "field reason", "bravo closes", `bravo\ncloses`},
		{"year", "said in the year 9999", "field at", "at = 2027-01", "at = 9999-01"},
	})...)
}
