// Reads a JSON list of LogQL queries on stdin and writes one list of complaints per query; none: it parses.
import { parser } from "@grafana/lezer-logql";
import { readFileSync } from "node:fs";

const complaints = (query) => {
  const found = [];
  parser.parse(query).iterate({
    enter: (node) => {
      if (node.type.isError) {
        found.push(`at ${node.from}: ${JSON.stringify(query.slice(node.from, node.from + 20))}`);
      }
    },
  });
  return found;
};

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(complaints)));
