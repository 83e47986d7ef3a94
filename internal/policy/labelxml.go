package policy

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// labelSpace is the XML namespace of exported labels. It is ours: the form is modelled on STANAG 4774, whose text is not public, and claims
// no conformance.
const labelSpace = "urn:entente.example:label:1"

// agreementURN begins the URI that says which agreement's schemes a label is of.
const agreementURN = "urn:entente.example:agreement:"

// xmlLabel is a ConfidentialityLabel. docs/formats/label.md has an example.
type xmlLabel struct {
	XMLName     xml.Name       `xml:"ConfidentialityLabel"`
	Information xmlInformation `xml:"ConfidentialityInformation"`
}

type xmlInformation struct {
	Policy         xmlPolicy     `xml:"PolicyIdentifier"`
	Classification string        `xml:"Classification"`
	Categories     []xmlCategory `xml:"Category"`
}

type xmlPolicy struct {
	URI  string `xml:"URI,attr"`
	Name string `xml:",chardata"`
}

type xmlCategory struct {
	TagName string   `xml:"TagName,attr"`
	Type    string   `xml:"Type,attr"`
	Values  []string `xml:"GenericValue"`
}

// The kinds of categories, as XML has them: TagName is the key in a scheme.
var restrictive, permissive = xmlCategory{TagName: "restrictive", Type: "RESTRICTIVE"}, xmlCategory{TagName: "permissive", Type: "PERMISSIVE"}

// XML writes a label for programs of others, with the agreement whose schemes it is of; the zero hash for none. Nothing in it needs escaping.
func (l Label) XML(agreement statement.Hash) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`<?xml version="1.0" encoding="UTF-8"?>`)
	line(`<ConfidentialityLabel xmlns="%s">`, labelSpace)
	line(`  <ConfidentialityInformation>`)
	uri := ""
	if !agreement.IsZero() {
		uri = ` URI="` + agreementURN + agreement.String() + `"`
	}
	line(`    <PolicyIdentifier%s>%s</PolicyIdentifier>`, uri, l.Scheme)
	line(`    <Classification>%s</Classification>`, l.Level)
	for _, c := range []struct {
		kind   xmlCategory
		values []string
	}{{restrictive, l.Restrictive}, {permissive, l.Permissive}} {
		if len(c.values) == 0 {
			continue
		}
		line(`    <Category TagName="%s" Type="%s">`, c.kind.TagName, c.kind.Type)
		for _, v := range c.values {
			line(`      <GenericValue>%s</GenericValue>`, v)
		}
		line(`    </Category>`)
	}
	line(`  </ConfidentialityInformation>`)
	line(`</ConfidentialityLabel>`)
	return b.Bytes()
}

// ReadXML reads what XML wrote, freely indented. What the label means is for Schemes.Known: nothing here knows its scheme, and its Rank is -1. The hash
// is that of the agreement whose schemes it is of, and zero if the file names none.
func ReadXML(b []byte) (Label, statement.Hash, error) {
	bad := func(format string, args ...any) (Label, statement.Hash, error) {
		return Label{}, statement.Hash{}, fmt.Errorf("read label: "+format, args...)
	}
	if len(b) > limit.LabelFile {
		return bad("the file has %d bytes, at most %d are allowed", len(b), limit.LabelFile)
	}
	var x xmlLabel
	if err := xml.Unmarshal(b, &x); err != nil {
		return bad("%w", err)
	}
	info := x.Information
	l := Label{Scheme: info.Policy.Name, Level: info.Classification, Rank: -1}
	for i, c := range info.Categories {
		values := c.Values
		c.Values = nil
		switch {
		case c.TagName == restrictive.TagName && c.Type == restrictive.Type && i == 0:
			l.Restrictive = values
		case c.TagName == permissive.TagName && c.Type == permissive.Type && l.Permissive == nil:
			l.Permissive = values
		default:
			return bad("expected one Category with TagName restrictive and Type RESTRICTIVE, one with permissive and PERMISSIVE, or one of them, in this order")
		}
		if len(values) == 0 {
			return bad("a Category has no GenericValue")
		}
	}
	// Words must not hold what separates the parts of a label: they would read as other parts.
	for _, word := range slices.Concat([]string{l.Scheme, l.Level}, l.Restrictive, l.Permissive) {
		if word == "" || strings.ContainsAny(word, ":/") {
			return bad("%.80q is no part of a label", word)
		}
	}
	if err := statement.ValidLabel(l.String()); err != nil {
		return bad("%w", err)
	}
	var agreement statement.Hash
	if uri := info.Policy.URI; uri != "" {
		text, ok := strings.CutPrefix(uri, agreementURN)
		if !ok || agreement.UnmarshalText([]byte(text)) != nil {
			return bad("the URI %.120q names no agreement", uri)
		}
	}
	// Whatever the decoder reads over, such as comments, DOCTYPE, and elements and attributes that nobody asked for, is found here.
	if !slices.Equal(elements(l.XML(agreement)), elements(b)) {
		return bad("the file says more than a label, or says it in another way than docs/formats/label.md")
	}
	return l, agreement, nil
}

// Known gives a label as its scheme has it, if this agreement knows it so.
func (s Schemes) Known(l Label) (Label, error) {
	known, err := s.Parse(l.String())
	if err == nil && (!slices.Equal(known.Restrictive, l.Restrictive) || !slices.Equal(known.Permissive, l.Permissive)) {
		err = fmt.Errorf("label %s has categories that are of another kind in the label scheme %s", l, l.Scheme)
	}
	return known, err
}

// elements cuts a file at the white space between its elements.
func elements(b []byte) []string {
	var list []string
	for line := range strings.SplitSeq(strings.ReplaceAll(string(b), "><", ">\n<"), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}
