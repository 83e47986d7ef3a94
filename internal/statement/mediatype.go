package statement

import (
	"path"
	"strings"
)

// unknownType is the media type of what we know nothing about.
const unknownType = "application/octet-stream"

// mediaTypes are the extensions that people exchange, as IANA registers their types.
var mediaTypes = map[string]string{
	".7z": "application/x-7z-compressed", ".age": "application/age-encryption", ".avif": "image/avif", ".bmp": "image/bmp", ".bz2": "application/x-bzip2", ".css": "text/css",
	".csv": "text/csv", ".doc": "application/msword", ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".eml": "message/rfc822",
	".epub": "application/epub+zip", ".geojson": "application/geo+json", ".gif": "image/gif", ".gz": "application/gzip", ".heic": "image/heic", ".htm": "text/html",
	".html": "text/html", ".ics": "text/calendar", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".js": "text/javascript", ".json": "application/json",
	".kml": "application/vnd.google-earth.kml+xml", ".log": "text/plain", ".md": "text/markdown", ".mjs": "text/javascript", ".mp3": "audio/mpeg", ".mp4": "video/mp4",
	".odp": "application/vnd.oasis.opendocument.presentation", ".ods": "application/vnd.oasis.opendocument.spreadsheet", ".odt": "application/vnd.oasis.opendocument.text",
	".ogg": "audio/ogg", ".p7m": "application/pkcs7-mime", ".p7s": "application/pkcs7-signature", ".pcap": "application/vnd.tcpdump.pcap", ".pdf": "application/pdf",
	".png": "image/png", ".ppt": "application/vnd.ms-powerpoint", ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation", ".rtf": "application/rtf",
	".svg": "image/svg+xml", ".tar": "application/x-tar", ".text": "text/plain", ".tif": "image/tiff", ".tiff": "image/tiff", ".tsv": "text/tab-separated-values",
	".txt": "text/plain", ".wasm": "application/wasm", ".wav": "audio/wav", ".webm": "video/webm", ".webp": "image/webp", ".xls": "application/vnd.ms-excel",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xml": "text/xml", ".yaml": "application/yaml", ".yml": "application/yaml", ".zip": "application/zip",
	".zst": "application/zstd",
}

// MediaType gives the media type that goes with a file name. The commitment to a document covers its type, so whoever has the document must come to
// the same one as its sender: the system's own list, which is another one on every machine, is not asked.
func MediaType(name string) string {
	if t, ok := mediaTypes[strings.ToLower(path.Ext(name))]; ok {
		return t
	}
	return unknownType
}
