"""The services of MovieRecs; imports run contracts ← common ← each service, and never across."""
