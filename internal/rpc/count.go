package rpc

import (
	"context"

	"google.golang.org/grpc"

	"entente.example/internal/metrics"
)

// elsewhere stands in the metrics for every method that our table does not have: whoever calls chooses the name, and each name would be
// a series for ever.
const elsewhere = "/unknown/unknown"

// named gives the name under which a call of a method is counted.
func named(method string) string {
	if mayCall(method) == nobody {
		return elsewhere
	}
	return method
}

// countUnary counts calls, refused ones too: it stands outermost.
func countUnary(c *metrics.Calls) grpc.UnaryServerInterceptor {
	if c == nil {
		return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			return handler(ctx, req)
		}
	}
	count := c.UnaryServerInterceptor()
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return count(ctx, req, &grpc.UnaryServerInfo{Server: info.Server, FullMethod: named(info.FullMethod)}, handler)
	}
}

// countStream does the same for streams, and for methods that nobody serves.
func countStream(c *metrics.Calls) grpc.StreamServerInterceptor {
	if c == nil {
		return func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(srv, s)
		}
	}
	count := c.StreamServerInterceptor()
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		bounded := *info
		bounded.FullMethod = named(info.FullMethod)
		return count(srv, s, &bounded, handler)
	}
}
