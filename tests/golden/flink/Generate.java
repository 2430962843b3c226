// Writes what the golden test compares with: `readings.jsonl`, from a seed, and for each query NAME.sql the rows that
// Apache Flink answers over it, NAME.jsonl. See README.md.

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableException;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;

public class Generate {
    static final String NEW_YEAR = "2026-01-01T00:00:00Z";

    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]).toAbsolutePath();
        Path readings = directory.resolve("readings.jsonl");
        Files.write(readings, new Readings().lines());
        TableEnvironment batch = environment(false, readings);
        TableEnvironment streaming = environment(true, readings);
        for (String name : names(directory)) {
            Path other = directory.resolve(name + ".flink.sql");
            Path query = Files.exists(other) ? other : directory.resolve(name + ".sql");
            String sql = Files.readString(query);
            String mode = "batch";
            TableResult result;
            try {
                result = batch.executeSql(sql);
            } catch (TableException refused) {
                // Session windows, which Flink has in its streaming mode alone.
                System.err.println(name + ": not in batch mode: " + refused.getMessage().lines().findFirst().get());
                mode = "streaming";
                result = streaming.executeSql(sql);
            }
            List<String> rows = rows(result);
            if (rows.isEmpty()) {
                throw new IllegalStateException(name + ": no rows, which tests nothing");
            }
            Files.write(directory.resolve(name + ".jsonl"), rows);
            System.out.println(name + ": " + rows.size() + " rows, " + mode);
        }
    }

    static List<String> names(Path directory) throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            return files.map(file -> file.getFileName().toString())
                    .filter(name -> name.endsWith(".sql") && !name.endsWith(".flink.sql"))
                    .map(name -> name.substring(0, name.length() - ".sql".length()))
                    .sorted()
                    .toList();
        }
    }

    static TableEnvironment environment(boolean streaming, Path readings) {
        Configuration configuration = new Configuration();
        configuration.setString("parallelism.default", "1");
        configuration.setString("table.local-time-zone", "UTC");
        // In two phases Flink 2.3.0 fails on a HOP whose slide is longer than its size (a ClassCastException).
        configuration.setString("table.optimizer.agg-phase-strategy", "ONE_PHASE");
        EnvironmentSettings.Builder settings = EnvironmentSettings.newInstance().withConfiguration(configuration);
        TableEnvironment environment =
                TableEnvironment.create((streaming ? settings.inStreamingMode() : settings.inBatchMode()).build());
        // With this watermark nothing is late and every window closes at the end of the file.
        environment.executeSql(
                """
                CREATE TEMPORARY TABLE readings (
                    `at` TIMESTAMP_LTZ(3),
                    ts AS CAST(`at` AS TIMESTAMP(3)),
                    device STRING,
                    site STRING,
                    state STRING,
                    valve BOOLEAN,
                    temp DOUBLE,
                    hum DOUBLE,
                    load DOUBLE,
                    WATERMARK FOR ts AS ts - INTERVAL '99' YEAR
                ) WITH (
                    'connector' = 'filesystem',
                    'path' = '%s',
                    'format' = 'json',
                    'json.timestamp-format.standard' = 'ISO-8601'
                )
                """
                        .formatted(readings.toUri()));
        return environment;
    }

    /** A row a line, its columns in the order of SELECT; the lines sorted, since the rows of a table have no order. */
    static List<String> rows(TableResult result) throws Exception {
        List<String> names = result.getResolvedSchema().getColumnNames();
        List<String> lines = new ArrayList<>();
        try (var rows = result.collect()) {
            while (rows.hasNext()) {
                Row row = rows.next();
                if (row.getKind() != RowKind.INSERT) {
                    throw new IllegalStateException("a row that is taken back: " + row);
                }
                List<String> fields = new ArrayList<>();
                for (int i = 0; i < names.size(); i++) {
                    fields.add(quoted(names.get(i)) + ":" + json(row.getField(i)));
                }
                lines.add("{" + String.join(",", fields) + "}");
            }
        }
        Collections.sort(lines);
        return lines;
    }

    /** Times as microseconds since 1970, which is what they are in Tidegate. */
    static String json(Object value) {
        if (value == null || value instanceof Boolean) {
            return String.valueOf(value);
        } else if (value instanceof String text) {
            return quoted(text);
        } else if (value instanceof LocalDateTime time) {
            Instant instant = time.toInstant(ZoneOffset.UTC);
            return String.valueOf(instant.getEpochSecond() * 1_000_000 + instant.getNano() / 1_000);
        } else if (value instanceof Double number && !Double.isFinite(number)) {
            throw new IllegalStateException(number + " is no number of JSON");
        } else if (value instanceof Long || value instanceof Integer || value instanceof Double) {
            return value.toString();
        }
        throw new IllegalStateException("a column of " + value.getClass() + " is neither DOUBLE nor known");
    }

    static String quoted(String text) {
        if (text.chars().anyMatch(c -> c < ' ' || c == '"' || c == '\\')) {
            throw new IllegalStateException("text to be escaped: " + text);
        }
        return '"' + text + '"';
    }

    /** A few hundred readings, in no order of time. */
    static class Readings {
        final Random random = new Random(20_260_101);
        final List<String> lines = new ArrayList<>();

        List<String> lines() {
            long start = Instant.parse(NEW_YEAR).toEpochMilli();
            walk("boiler", "north", start, 90);
            walk("pump", "north", start, 90);
            walk("fan", "south", start + 500, 90);
            // No site: a key that is NULL.
            walk("lamp", null, start, 40);
            // Around 1970.
            walk("clock", "south", -180_000, 30);
            edges(start);
            // The same again, as an at-least-once road may bring it.
            lines.addAll(lines.subList(10, 20).stream().toList());
            Collections.shuffle(lines, random);
            return lines;
        }

        /** Steps of which many lead onto the edge of a window, or are the gap of a session, or a hair from either. */
        void walk(String device, String site, long time, int count) {
            for (int i = 0; i < count; i++) {
                reading(device, site, time);
                long edge = Math.floorDiv(time, 10_000) * 10_000 + 10_000;
                time =
                        switch (random.nextInt(10)) {
                            case 0 -> edge;
                            case 1 -> edge - 1;
                            case 2 -> edge + 1;
                            case 3 -> time + 30_000;
                            case 4 -> time + 29_999;
                            case 5 -> time + 30_001;
                            case 6 -> time + 60_000 + random.nextInt(60_000);
                            default -> time + 1 + random.nextInt(9_000);
                        };
            }
        }

        /** Sessions of 30 seconds: up to the gap, exactly, beyond; then two that a reading in the middle joins. */
        void edges(long start) {
            long time = start;
            for (long step : new long[] {0, 29_999, 30_000, 30_001, 30_000, 30_000, 45_000, 60_000, 30_001, 30_001}) {
                time += step;
                reading("edge", "south", time);
            }
            reading("edge", "south", time + 60_000);
            reading("edge", "south", time + 30_000);
        }

        void reading(String device, String site, long time) {
            List<String> fields = new ArrayList<>();
            fields.add("\"device\":" + quoted(device));
            fields.add("\"at\":\"%tFT%<tT.%<tLZ\"".formatted(Instant.ofEpochMilli(time).atZone(ZoneOffset.UTC)));
            if (site != null) {
                fields.add("\"site\":" + quoted(site));
            }
            // All NULL in some windows of this device.
            boolean dumb = device.equals("lamp");
            String[] states = {"ok", "ok", "ok", "warn", "alarm", "", "über"};
            add(fields, "state", 6, quoted(states[random.nextInt(states.length)]));
            add(fields, "valve", 4, String.valueOf(random.nextInt(3) > 0));
            add(fields, "temp", dumb ? 1 : 8, decimal(random.nextInt(6_000) - 1_500, 100));
            // Quarters, exact in a DOUBLE, so that no formula of the variance loses anything.
            add(fields, "hum", 8, decimal(120 + random.nextInt(120), 4));
            // Few values, so that some are equal, the most of them whole.
            add(fields, "load", dumb ? 2 : 5, decimal(random.nextInt(13) - 6, random.nextInt(3) > 0 ? 1 : 2));
            lines.add("{" + String.join(",", fields) + "}");
        }

        /** One time in `rare` there is no such field, or it is null; with 1, never. */
        void add(List<String> fields, String name, int rare, String value) {
            switch (random.nextInt(2 * rare)) {
                case 0 -> {}
                case 1 -> fields.add("\"" + name + "\":null");
                default -> fields.add("\"" + name + "\":" + value);
            }
        }

        /** A quotient; if whole, now with a point and now without. */
        String decimal(int dividend, int divisor) {
            if (dividend % divisor == 0 && random.nextBoolean()) {
                return String.valueOf(dividend / divisor);
            }
            return String.valueOf((double) dividend / divisor);
        }
    }
}
