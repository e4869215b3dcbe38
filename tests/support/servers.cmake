# Real servers, data, background writers and the command line program, for tests of every folder.
target_sources(syncline_test_support PRIVATE ${CMAKE_CURRENT_LIST_DIR}/process.c
    ${CMAKE_CURRENT_LIST_DIR}/servers.c ${CMAKE_CURRENT_LIST_DIR}/client.c
    ${CMAKE_CURRENT_LIST_DIR}/dataset.c ${CMAKE_CURRENT_LIST_DIR}/compare.c
    ${CMAKE_CURRENT_LIST_DIR}/writer.c ${CMAKE_CURRENT_LIST_DIR}/cli.c)
target_link_libraries(syncline_test_support PUBLIC PkgConfig::HIREDIS)
target_compile_definitions(syncline_test_support PRIVATE
    SYNCLINE_BINARY="${PROJECT_BINARY_DIR}/tools/syncline")

syncline_test(test_support_servers SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_servers.c
    LIBRARIES syncline_test_support syncline_base LABELS live)
syncline_test(test_support_cli SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_cli.c
    LIBRARIES syncline_test_support syncline_base)

# For tools/demo.
add_executable(demo_support ${CMAKE_CURRENT_LIST_DIR}/demo.c)
target_link_libraries(demo_support PRIVATE syncline_flags syncline_test_support syncline_base)
