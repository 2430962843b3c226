-- A slide longer than the size: readings between two windows are in none.
SELECT device, HOP_START(ts, INTERVAL '1' MINUTE, INTERVAL '20' SECOND) AS w_start,
    HOP_END(ts, INTERVAL '1' MINUTE, INTERVAL '20' SECOND) AS w_end, COUNT(*) AS n, AVG(temp) AS temp_avg
FROM readings
GROUP BY device, HOP(ts, INTERVAL '1' MINUTE, INTERVAL '20' SECOND)
